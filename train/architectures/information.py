"""Bounds on mutual information, in nats, from a batch of paired samples."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def club(mean: Tensor, log_variance: Tensor, samples: Tensor) -> Tensor:
    """Contrastive log-ratio upper bound (CLUB; Cheng et al., 2020, equation 7), one value a pair, (n,).

    `mean` and `log_variance` (n, d) are q(y | x) of each pair's x, `samples` (n, d) each pair's y. The mean over the
    pairs bounds I(x; y) from above where q is the true conditional, or near it.
    """
    precision = (-log_variance).exp()
    matched = -0.5 * (samples - mean).square() * precision
    # Mean over j of (y_j - mean_i)^2, without the (n, n, d) table.
    first, second = samples.mean(dim=0), samples.square().mean(dim=0)
    mismatched = -0.5 * (second - 2 * first * mean + mean.square()) * precision
    return (matched - mismatched).sum(dim=1)


def gaussian_nll(mean: Tensor, log_variance: Tensor, samples: Tensor) -> Tensor:
    """Negative log likelihood of `samples` (n, d) under independent Gaussians, without its constant; (n,)."""
    return 0.5 * ((samples - mean).square() * (-log_variance).exp() + log_variance).sum(dim=1)


def linear_information(features: Tensor, values: Tensor, *, ridge: float) -> Tensor:
    """Information in nats, (k,), that a ridge regression on `features` (n, d) finds of each of the `values` (n, k).

    That is -log(1 - R2) / 2, which for Gaussians is the mutual information. The regression is fitted to these very
    samples, so that features cannot run ahead of it; `ridge`, in units of a feature's variance, keeps it from finding
    chance where n is not far above d. Features are standardised first, or one that grows would hide the others behind
    the ridge. Where features and values are uncorrelated it is 0, and no linear probe finds anything (Belrose et al.,
    2023).
    """
    x, y = (_standardised(samples) for samples in (features, values))
    covariance, between = x.T @ x / len(x), x.T @ y / len(x)
    penalty = ridge * torch.eye(x.shape[1], device=x.device)
    share = (between * torch.linalg.solve(covariance + penalty, between)).sum(dim=0)
    return -0.5 * torch.log1p(-share.clamp(max=0.9999))


def _standardised(samples: Tensor) -> Tensor:
    return (samples - samples.mean(dim=0)) / (samples.var(dim=0, correction=0) + 1e-8).sqrt()


def info_nce(keys: Tensor, queries: Tensor) -> Tensor:
    """InfoNCE lower bound (van den Oord et al., 2018): log n minus the cross-entropy of finding each query's own key.

    keys, queries: (n, d), whose dot products are the scores. At most log n.
    """
    scores = queries @ keys.T
    own = torch.arange(len(keys), device=keys.device)
    return math.log(len(keys)) - F.cross_entropy(scores, own)
