"""Scores and normalisations on tensors, differentiable: the formulas of `particles.scores` and `normalisations`.

scores and measure : (replicas, heads, rows, keys)
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...normalisations import TIES
from ...priors import rotary_angles


def scores(score: Any, query: Tensor, key: Tensor, beta: float) -> Tensor:
    """s_ij of queries and keys (replicas, heads, tokens, components)."""
    if not score.distant:
        return (beta * query) @ key.mT
    squares = (query[..., :, None, :] - key[..., None, :, :]).square().sum(-1)
    if score.name == "laplace":
        return -beta * _root(squares)
    if score.name == "student":
        return -0.5 * (score.freedom + 1) * torch.log1p(beta / score.freedom * squares)
    return -0.5 * beta * squares


def weights(normalisation: Any, scores: Tensor, measure: Tensor, tokens: int) -> Tensor:
    """The weights of the law, w_ij."""
    name = normalisation.name
    if name in ("softmax", "sinkhorn", "none"):
        terms, highest = _exponentials(scores, measure)
        return terms * (highest - normalisation.shift).exp() if name == "none" else _divided_by_sum(terms)
    if name == "linear":
        return measure * scores
    if name == "relu":
        return measure * scores.clamp(min=0)
    if name == "sigmoid":
        return measure * torch.sigmoid(scores + normalisation.bias)
    if name == "entmax":
        nu = measure if normalisation.mean_field else tokens * measure
        return _entmax(scores, nu, normalisation.alpha)
    return _selected(normalisation, scores, measure)


def log_sums(scores: Tensor, measure: Tensor) -> Tensor:
    """log sum_j mu_ij exp(s_ij), (replicas, heads, rows); -inf where nobody is seen."""
    terms, highest = _exponentials(scores, measure)
    return (highest + terms.sum(-1, keepdim=True).log())[..., 0]


def rotated(x: Tensor, rotary: float | np.ndarray) -> Tensor:
    """See `priors.rotated`."""
    angles = rotary_angles(rotary, *x.shape[-2:])
    cosine, sine = (torch.as_tensor(f(angles), dtype=x.dtype, device=x.device) for f in (np.cos, np.sin))
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([cosine * even - sine * odd, sine * even + cosine * odd], dim=-1).flatten(-2)


def directions(x: Tensor) -> Tensor:
    """x / |x| along the last axis; 0 where x is."""
    length = _root(x.square().sum(-1, keepdim=True))
    return torch.where(length > 0, x / torch.where(length > 0, length, 1.0), 0.0)


def _root(squares: Tensor) -> Tensor:
    """The square root, whose derivative at 0 is taken to be 0."""
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0)


def _exponentials(scores: Tensor, measure: Tensor) -> tuple[Tensor, Tensor]:
    seen = torch.where(measure > 0, scores, -torch.inf)
    highest = seen.amax(-1, keepdim=True).detach()
    highest = torch.where(highest.isfinite(), highest, 0.0)
    return measure * (seen - highest).exp(), highest


def _divided_by_sum(terms: Tensor) -> Tensor:
    total = terms.sum(-1, keepdim=True)
    return terms / torch.where(total > 0, total, 1.0)


def _selected(normalisation: Any, scores: Tensor, measure: Tensor) -> Tensor:
    """Hardmax, or softmax over the largest scores."""
    seen = torch.where(measure > 0, scores, -torch.inf).detach()
    largest = torch.where(seen.isfinite(), seen, 0.0).abs().amax(-1, keepdim=True)
    tie = TIES[scores.element_size()] * largest
    if normalisation.name == "hardmax":
        least = seen.amax(-1, keepdim=True)
        return _divided_by_sum(torch.where((seen >= least - tie) & seen.isfinite(), measure, 0.0))
    if normalisation.count < seen.shape[-1]:
        least = seen.topk(normalisation.count, dim=-1).values[..., -1:]
        measure = torch.where(seen >= least - tie, measure, 0.0)
    return _divided_by_sum(_exponentials(scores, measure)[0])


def _entmax(scores: Tensor, nu: Tensor, alpha: float) -> Tensor:
    """See `normalisations.Entmax.rows`; one more step of Newton's method carries the derivative of tau."""
    p = 1.0 / (alpha - 1.0)
    seen = nu > 0
    z = torch.where(seen, (alpha - 1.0) * scores, -torch.inf)
    highest = z.amax(-1, keepdim=True)
    z = z - torch.where(highest.isfinite(), highest, 0.0).detach()
    with torch.no_grad():
        top = torch.where(z == 0, nu, 0.0).amax(-1, keepdim=True)
        tau = -(torch.where(top > 0, top, 1.0) ** (-1.0 / p))
        for _ in range(200):
            moved = tau + _newton(z, nu, tau, p).clamp(min=0.0)
            if not bool((moved > tau).any()):
                break
            tau = moved
    tau = tau + _newton(z, nu, tau, p)
    return _divided_by_sum(nu * _height(z, tau) ** p)


def _newton(z: Tensor, nu: Tensor, tau: Tensor, p: float) -> Tensor:
    height = _height(z, tau)
    power = nu * (height > 0) if p == 1.0 else nu * height ** (p - 1.0)
    total, slope = (power * height).sum(-1, keepdim=True), power.sum(-1, keepdim=True)
    anybody = total > 0
    total, slope = torch.where(anybody, total, 1.0), torch.where(anybody, slope, 1.0)
    return torch.where(anybody, (total - total ** (1.0 - 1.0 / p)) / slope, 0.0)


def _height(z: Tensor, tau: Tensor) -> Tensor:
    """(z - tau)_+, without the infinities of tokens that are not seen."""
    above = z > tau
    return torch.where(above, torch.where(above, z, 0.0) - tau, 0.0)
