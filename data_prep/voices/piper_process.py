"""Piper, in a process of its own: a job as JSON on standard input, a file of samples for each of its clips.

    {"model": "voice.onnx", "config": "voice.onnx.json", "seed": 1,
     "clips": [{"text": "...", "speaker": 0, "length_scale": 1.0, "noise_scale": .667, "output": "0.npy"}]}

Only this process imports Piper, whose licence is the GPL. Its network draws noise from a generator that is
seeded where the network is loaded, so a clip is a function of the job and of its place there.
"""

from __future__ import annotations

import json
import sys

import numpy as np


def main() -> None:
    """Do the job on standard input."""
    import onnxruntime
    from piper import PiperVoice, SynthesisConfig
    from piper.config import PiperConfig

    job = json.load(sys.stdin)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # other processes are beside it
    onnxruntime.set_seed(job["seed"])
    session = onnxruntime.InferenceSession(job["model"], options, providers=["CPUExecutionProvider"])
    with open(job["config"], encoding="utf-8") as stream:
        voice = PiperVoice(session, PiperConfig.from_dict(json.load(stream)))
    for clip in job["clips"]:
        settings = SynthesisConfig(
            speaker_id=clip["speaker"],
            length_scale=clip["length_scale"],
            noise_scale=clip["noise_scale"],
        )
        chunks = [chunk.audio_float_array for chunk in voice.synthesize(clip["text"], settings)]
        np.save(clip["output"], np.concatenate([np.zeros(0, np.float32), *chunks]).astype(np.float32))


if __name__ == "__main__":
    main()
