"""A prior of latents that is learnt: a flow that carries noise to the latents of images, by their captions.

A generator that decodes what a posterior infers from real images meets other latents when it generates: a
normal prior puts noise where no image ever was. The latents' own distribution, given a caption, is learnt
here by a rectified flow (Liu et al., ICLR 2023; flow matching, Lipman et al., ICLR 2023): a small network
regresses the velocity on the straight line from noise to latent, and generation integrates it. As in latent
diffusion (Rombach et al., CVPR 2022), but for a vector, which costs little beside the images.

It learns from the latents alone; no gradient passes through its integration.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from s2i.config_networks import GeneratorConfig
from s2i.float32 import in_float32

_FREQUENCIES = 32  # of the sines and cosines of a time
_HIGHEST = 6.0  # their highest, as a power of e
_REPEATS = 8  # times and noises at which a step sees each latent
_DROPPED = 0.1  # of captions, so that there is a flow without any to be guided by


class VelocityBlock(nn.Module):
    """Two layers and the input, all scaled and shifted by time and caption (adaptive norm, DiT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(width, 3 * width)
        self.layers = nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
        nn.init.zeros_(self.modulation.weight)  # begins by adding nothing
        nn.init.zeros_(self.modulation.bias)

    def forward(self, hidden: Tensor, condition: Tensor) -> Tensor:
        """(..., W), (..., W) -> (..., W)."""
        scale, shift, gate = self.modulation(condition).chunk(3, -1)
        return hidden + gate * self.layers(self.norm(hidden) * (1 + scale) + shift)


class FlowPrior(nn.Module):
    """Noise and a caption's sentence -> a latent."""

    def __init__(self, config: GeneratorConfig, embedding_dim: int) -> None:
        """`embedding_dim`: D, of a sentence."""
        super().__init__()
        width = config.prior_dim
        self.steps, self.guidance, self.truncation = config.prior_steps, config.guidance, config.truncation
        self.of_latent = nn.Linear(config.noise_dim, width)
        self.of_time = nn.Linear(2 * _FREQUENCIES, width)
        self.of_sentence = nn.Linear(embedding_dim, width)
        self.no_caption = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(VelocityBlock(width) for _ in range(config.prior_layers))
        self.velocity = nn.Linear(width, config.noise_dim)

    def initialise(self) -> None:
        """Torch's weights, and a flow that doesn't move."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
        for layer in (self.velocity, *(block.modulation for block in self.blocks)):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def forward(
        self, noise: Tensor, sentence: Tensor, steps: int | None = None, guided: bool = True
    ) -> Tensor:
        """Carry noise along the flow, by the midpoint rule, in float32.

        Args:
            noise: (B, Z) standard normal.
            sentence: (B, D).
            steps: None: as configured.
            guided: by the configured guidance, from noise times the configured truncation; else latents are
                distributed as those of images.

        Returns:
            (B, Z) float32.
        """
        with in_float32(noise):
            guidance, truncation = (self.guidance, self.truncation) if guided else (1.0, 1.0)
            caption, latent, steps = self._caption(sentence), truncation * noise.float(), steps or self.steps
            for step in range(steps):
                halfway = latent + self._guided(latent, step / steps, caption, guidance) / (2 * steps)
                latent = latent + self._guided(halfway, (step + 0.5) / steps, caption, guidance) / steps
        return latent

    def loss(self, latent: Tensor, sentence: Tensor) -> Tensor:
        """Mean squared error of the velocity from noise to latents, at times around the middle (logit-normal,
        as of Stable Diffusion 3).

        Args:
            latent: (B, Z), inferred from real images; sentence: (B, D), of their captions. No history.
        """
        with in_float32(latent):
            latent = latent.float().repeat(_REPEATS, 1)
            caption = self._caption(sentence).repeat(_REPEATS, 1)
            rows = (len(latent), 1)
            dropped = torch.rand(rows, device=latent.device) < _DROPPED
            caption = torch.where(dropped, self.no_caption, caption)
            noise, time = torch.randn_like(latent), torch.randn(rows, device=latent.device).sigmoid()
            between = torch.lerp(noise, latent, time)  # x_t = t x_1 + (1 - t) x_0
            return F.mse_loss(self._velocity(between, time, caption), latent - noise)

    def _caption(self, sentence: Tensor) -> Tensor:
        """(B, D) of any length -> (B, W)."""
        return self.of_sentence(F.normalize(sentence.float(), dim=1) * sentence.shape[1] ** 0.5)

    def _guided(self, latent: Tensor, time: float, caption: Tensor, guidance: float) -> Tensor:
        """Velocity at one time; with guidance further from that of no caption (classifier-free guidance), and
        as long as the caption's (as Lin et al., WACV 2024, keep the deviation): else latents become longer
        than images' are, the more the stronger the guidance."""
        times = latent.new_full((len(latent), 1), time)
        if guidance == 1:
            return self._velocity(latent, times, caption)
        both = torch.stack((caption, self.no_caption.expand_as(caption)))  # once through the weights
        velocity, without = self._velocity(latent, times, both)
        guided = without + guidance * (velocity - without)
        return F.normalize(guided, dim=-1) * velocity.norm(dim=-1, keepdim=True)

    def _velocity(self, latent: Tensor, time: Tensor, caption: Tensor) -> Tensor:
        """Latents (B, Z) at times (B, 1), captions (B, W) or (N, B, W) -> (B, Z) or (N, B, Z)."""
        angles = time * torch.linspace(0, _HIGHEST, _FREQUENCIES, device=time.device).exp()
        condition = F.silu(caption + self.of_time(torch.cat((angles.sin(), angles.cos()), -1)))
        hidden = self.of_latent(latent)
        for block in self.blocks:
            hidden = block(hidden, condition)
        return self.velocity(hidden)
