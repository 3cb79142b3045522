"""Augmentation along the mel axis: who speaks, and through what they are heard.

Curves are factors of power, (M,), and need no time axis; warps are matrices, (M, M), that a log-mel (T, M) is
multiplied with from the right.
"""

from __future__ import annotations

import numpy as np

WARPED_BELOW = 4800.0  # Hz: Jaitly and Hinton's F_hi; above, the warp returns to the axis's end
SMOOTH_TERMS = 4  # cosines that a random response is a sum of


def vocal_tract_warp(factor: float, centres: np.ndarray, highest: float) -> np.ndarray:
    """Vocal tract length perturbation (Jaitly and Hinton, 2013): formants of frequency f come to lie at
    f / factor.

    Of a log-mel in place of their spectrum: each bin is read between the two bins that lie around its warped
    frequency.

    Args:
        factor: alpha; a vocal tract so many times as long.
        centres: Hz of each mel bin, rising, (M,).
        highest: half the sample rate, Hz.

    Returns:
        (M, M) float32.
    """
    edge = WARPED_BELOW * min(factor, 1.0)
    upper = highest - (highest - edge) / (highest - edge / factor) * (highest - centres)
    warped = np.where(centres <= edge / factor, centres * factor, upper)
    place = np.interp(warped, centres, np.arange(len(centres)))
    low = place.astype(np.int64)
    high, share = np.minimum(low + 1, len(centres) - 1), place - low
    matrix = np.zeros((len(centres), len(centres)), np.float32)
    columns = np.arange(len(centres))
    matrix[low, columns] += 1 - share
    matrix[high, columns] += share
    return matrix


def smooth_response(decibels: float, random: np.random.Generator, curves: np.ndarray) -> np.ndarray:
    """A random smooth response of a microphone, or colour of a noise, as factors of power: (M,).

    Args:
        decibels: its standard deviation.
        curves: `smooth_curves` of M bins.
    """
    return _power(decibels * (random.standard_normal(len(curves)) @ curves))


def smooth_curves(bins: int) -> np.ndarray:
    """Cosines over the mel bins, (SMOOTH_TERMS, M): their sum with standard normal weights has variance 1."""
    order = np.arange(1, SMOOTH_TERMS + 1)[:, None]
    return np.cos(np.pi * order * (np.arange(bins) + 0.5) / bins) * np.sqrt(2 / SMOOTH_TERMS)


def band(lowest: float, highest: float, slope: float, centres: np.ndarray) -> np.ndarray:
    """The band of a telephone or a narrow microphone, as factors of power: 1 from `lowest` to `highest` Hz,
    falling by `slope` dB an octave outside: (M,)."""
    octaves = np.log2(lowest / centres).clip(min=0) + np.log2(centres / highest).clip(min=0)
    return _power(-slope * octaves)


def colour(slope: float, centres: np.ndarray) -> np.ndarray:
    """Spectrum of coloured noise as power in each bin of a mel whose filters have equal area: (M,).

    Args:
        slope: dB an octave: 0 white, -3 pink, -6 brown.
        centres: Hz of each bin.
    """
    return _power(slope * np.log2(centres / 1000))


def _power(decibels: np.ndarray) -> np.ndarray:
    return np.power(np.float32(10), np.float32(0.1) * decibels.astype(np.float32))
