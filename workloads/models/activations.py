"""What stands between the layers of a network: ReLU, or the polynomial that comes nearest to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, field_validator

from workloads.contract import Config

if TYPE_CHECKING:
    from torch import nn


class ReLU(Config):
    r"""$\max(x, 0)$."""

    name: Literal["relu"] = "relu"

    def build(self) -> nn.Module:
        """A layer; it has no parameters."""
        from torch import nn

        return nn.ReLU()


class PolynomialReLU(Config):
    r"""The polynomial $p$ of this degree that minimizes $\int_a^b (p(x) - \max(x, 0))^2 dx$ on the interval $[a, b]$.

    The source prints the degree and no interval; outside of it the polynomial soon leaves ReLU, so that networks need
    batch norm in front. Source: Zhang et al., CBMM memo 067, figures 21 to 24.
    """

    name: Literal["polynomial"] = "polynomial"
    degree: int = Field(default=10, ge=1, le=30, description="Of the polynomial.")
    interval: tuple[float, float] = Field(default=(-5.0, 5.0), description="a and b, a < 0 < b; an assumption.")

    @field_validator("interval")
    @classmethod
    def _holds_the_kink(cls, interval: tuple[float, float]) -> tuple[float, float]:
        if not interval[0] < 0 < interval[1]:
            raise ValueError(f"the interval must have 0 inside, where ReLU bends; {list(interval)} has not")
        return interval

    def coefficients(self) -> tuple[float, ...]:
        r"""$c_0, \dots, c_d$ with $p(x) = \sum_k c_k x^k$, in float64.

        With $u \in [-1, 1]$ in place of $x$, $p = \sum_k a_k P_k(u)$ where $P_k$ are Legendre's polynomials and
        $a_k = \frac{2k+1}{2} \int P_k(u) \max(x(u), 0) du$. Where ReLU is not zero the integrand is a polynomial of
        degree $k + 1$, which $d + 1$ Gauss points integrate exactly.

        Example:
            >>> [round(c, 12) for c in PolynomialReLU(degree=2, interval=(-1.0, 1.0)).coefficients()]
            [0.09375, 0.5, 0.46875]
        """
        from numpy.polynomial import Legendre, Polynomial, legendre

        low, high = self.interval
        nodes, weights = legendre.leggauss(self.degree + 1)
        x = high * (nodes + 1) / 2  # Gauss points of [0, high], the part where ReLU is not zero
        u = (2 * x - low - high) / (high - low)
        per_node = legendre.legvander(u, self.degree) * (weights * x * high / (high - low))[:, None]
        projected = [(2 * k + 1) / 2 * float(column.sum()) for k, column in enumerate(per_node.T)]
        return tuple(float(c) for c in Legendre(projected, domain=[low, high]).convert(kind=Polynomial).coef)

    def build(self) -> nn.Module:
        """A layer; it has no parameters."""
        from workloads.models.layers import Polynomial

        return Polynomial(self.coefficients())


Activation = Annotated[ReLU | PolynomialReLU, Field(discriminator="name")]
