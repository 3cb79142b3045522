// Players of an answer: the cursor over the recording, the attention of each segment or word, the seed shown.
class S2iAnswer extends HTMLElement {
  connectedCallback() {
    this.link();
    for (const player of this.querySelectorAll(".s2i-player")) this.start(player);
    this.addEventListener("click", (event) => {
      const pick = event.target.closest(".s2i-pick");
      if (pick) this.pick(pick.dataset.seed);
    });
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (this.getBoundingClientRect().top > innerHeight * 0.8)
      this.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }

  // The address of the page carries this answer, or nothing where no link can.
  link() {
    const address = new URL(location.href);
    for (const name of ["text", "example", "spoken", "seeds"]) address.searchParams.delete(name);
    for (const [name, value] of new URLSearchParams(this.dataset.query)) address.searchParams.set(name, value);
    history.replaceState(null, "", address);
    const button = this.querySelector(".s2i-copy-link");
    button?.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(address.href);
        button.textContent = "Copied";
      } catch {
        prompt("Link to this", address.href); // a page over http may not write to the clipboard
      }
    });
  }

  // Shows one seed's images large, and their attention maps in every player.
  pick(seed) {
    for (const card of this.querySelectorAll(".s2i-card"))
      card.classList.toggle("s2i-chosen", card.dataset.seed === seed);
    for (const pick of this.querySelectorAll(".s2i-pick")) {
      const chosen = pick.dataset.seed === seed;
      pick.setAttribute("aria-pressed", chosen);
      const player = chosen && this.querySelector(`.s2i-player[data-side="${pick.dataset.side}"]`);
      if (!player || !pick.dataset.attention) continue;
      player.style.setProperty("--attention", `url('${pick.dataset.attention}')`);
      player.querySelector(".s2i-seed").textContent = `seed ${seed}`;
    }
  }

  start(player) {
    const tiles = [...player.querySelectorAll(".s2i-tile")];
    const attention = player.querySelector(".s2i-attention");
    const show = (tile) => {
      if (!attention || !tile || tile === shown) return;
      shown = tile;
      for (const other of tiles) {
        other.setAttribute("aria-pressed", other === tile);
        other.tabIndex = other === tile ? 0 : -1;
      }
      attention.querySelector("i").style.backgroundPosition = tile.firstElementChild.style.backgroundPosition;
      attention.querySelector("output").textContent = tile.getAttribute("aria-label");
    };
    let shown = null;
    show(tiles.find((tile) => tile.getAttribute("aria-pressed") === "true"));
    const audio = player.querySelector("audio");
    if (audio) this.follow(player, audio, tiles, show);
    tiles.forEach((tile, index) => {
      const choose = () => {
        if (audio) audio.currentTime = Number(tile.dataset.start);
        show(tile);
      };
      tile.addEventListener("click", choose);
      if (!audio) tile.addEventListener("pointerenter", choose);
      tile.addEventListener("keydown", (event) => {
        const to = { ArrowLeft: index - 1, ArrowRight: index + 1, Home: 0, End: tiles.length - 1 }[event.key];
        if (to === undefined || !tiles[to]) return;
        event.preventDefault();
        tiles[to].focus();
        tiles[to].click();
      });
    });
  }

  // The cursor goes with the sound; a pointer over the line moves it for as long as it is there.
  follow(player, audio, tiles, show) {
    const line = player.querySelector(".s2i-line");
    const cursor = player.querySelector(".s2i-cursor");
    const seconds = Number(player.dataset.seconds);
    let hovering = false;
    const place = (time) => {
      cursor.style.left = `${(100 * Math.min(time, seconds)) / seconds}%`;
      show(tiles.findLast((tile) => Number(tile.dataset.start) <= time + 1e-6) ?? tiles[0]);
    };
    const step = () => {
      if (!player.isConnected) return audio.pause();
      if (!hovering) place(audio.currentTime);
      if (!audio.paused && !audio.ended) requestAnimationFrame(step);
    };
    const timeAt = (event) => {
      const box = line.getBoundingClientRect();
      return (seconds * Math.min(Math.max(event.clientX - box.left, 0), box.width)) / box.width;
    };
    for (const name of ["play", "seeked", "timeupdate"]) audio.addEventListener(name, step);
    line.addEventListener("pointermove", (event) => {
      hovering = event.pointerType === "mouse";
      if (hovering) place(timeAt(event));
    });
    line.addEventListener("pointerleave", () => {
      hovering = false;
      step();
    });
    line.addEventListener("click", (event) => {
      if (event.detail === 0) return; // a key on a segment's button, which seeks by itself
      audio.currentTime = timeAt(event);
      place(audio.currentTime);
    });
  }
}
customElements.define("s2i-answer", S2iAnswer);

function begin() {
  // Browsers offer a microphone to pages of this machine and over https alone.
  if (!navigator.mediaDevices) document.documentElement.classList.add("s2i-no-microphone");
  // Files are offered that can be decoded here, and no others.
  new MutationObserver(() => {
    const readable = document.querySelector(".s2i-head")?.dataset.accept;
    for (const input of document.querySelectorAll("#s2i-recording input[type=file]"))
      if (readable && input.accept !== readable) input.accept = readable;
  }).observe(document.body, { childList: true, subtree: true });
}
if (document.body) begin();
else addEventListener("DOMContentLoaded", begin);
