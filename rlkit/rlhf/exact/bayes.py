"""The KL-regularised optimum as a Bayesian posterior, and the evidence lower bound (ELBO).

The reference policy is the prior over the responses y to a prompt x, and exp(r(x, y) / kl_coef)
the likelihood. By Bayes' rule the posterior is the policy that maximises

    J(pi) = E_pi[r(x, y)] - kl_coef KL(pi || ref),

and J / kl_coef is a lower bound of the log evidence:

    log Z(x) = J(pi) / kl_coef + KL(pi || posterior).

Training a policy is therefore variational inference, and what training has not achieved is its
divergence from the posterior. A constant added to r adds the same amount to both sides.

Arrays are float64 [Q, C] as in `optimum`; everything here is in nats.

Source: Korbak, Perez and Buckley (2022), RL with KL penalties is better viewed as Bayesian
inference, arXiv 2205.11275; Levine (2018), arXiv 1805.00909.
"""

from __future__ import annotations

from typing import NamedTuple

from rlkit.rlhf.exact.optimum import Floats, objective, optimum


class Evidence(NamedTuple):
    """The two sides of log Z = ELBO + KL(policy || posterior), averaged over prompts, in nats."""

    log_evidence: float
    elbo: float
    posterior_kl: float


def log_evidence(reference_log_prob: Floats, reward: Floats, kl_coef: float) -> Floats:
    """Return the log of the normaliser of the posterior, [Q].

        log Z(x) = log sum_y ref(y|x) exp(r(x, y) / kl_coef)

    Args:
        reference_log_prob: log of the prior, [Q, C].
        reward: [Q, C].
        kl_coef: positive, reward per nat.

    Source: Korbak et al. (2022), the normaliser of their target distribution.
    """
    return optimum(reference_log_prob, reward, kl_coef).value / kl_coef


def posterior(reference_log_prob: Floats, reward: Floats, kl_coef: float) -> Floats:
    """Return the log-probabilities of the responses after seeing their likelihood, [Q, C].

        log p(y|x) = log ref(y|x) + r(x, y) / kl_coef - log Z(x)

    Args: as for `log_evidence`.

    Source: Korbak et al. (2022), the optimum of KL-regularised RL.
    """
    return optimum(reference_log_prob, reward, kl_coef).log_prob


def elbo(log_prob: Floats, reference_log_prob: Floats, reward: Floats, kl_coef: float) -> Floats:
    """Return the evidence lower bound of a policy, [Q].

        ELBO(pi) = E_pi[r(x, y)] / kl_coef - KL(pi || ref) = J(pi) / kl_coef <= log Z(x)

    with equality where pi is the posterior.

    Args:
        log_prob: log pi, the variational distribution, [Q, C].
        reference_log_prob: log of the prior, [Q, C].
        reward: [Q, C].
        kl_coef: positive, reward per nat.

    Source: Blei, Kucukelbir and McAuliffe (2017), Variational inference: a review for
    statisticians, section 2.2.
    """
    if not kl_coef > 0:
        raise ValueError(f"elbo: expected kl_coef > 0, got {kl_coef}")
    return objective(log_prob, reference_log_prob, reward, kl_coef) / kl_coef
