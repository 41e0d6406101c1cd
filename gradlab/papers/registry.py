"""The published results that `gradlab reproduce` knows, free of torch; each is a module of `gradlab.papers`.

To add one: an entry here and a module of the same name (underscores for hyphens) with
`reproduce(quick: bool) -> Iterator[Finding]`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gradlab.base.errors import ConfigError, Problem, nearest


@dataclass(frozen=True)
class Paper:
    """A published result: `name` as typed, `title` what is shown, `citation` where it was published."""

    name: str
    title: str
    citation: str

    @property
    def module(self) -> str:
        return "gradlab.papers." + self.name.replace("-", "_")


PAPERS = {
    paper.name: paper
    for paper in (
        Paper(
            "glorot-2010",
            "how initialisation decides what reaches the first layer",
            "Glorot & Bengio 2010, Understanding the difficulty of training deep feedforward neural networks",
        ),
        Paper(
            "he-2015",
            "rectifiers need weights of variance 2 / fan_in",
            "He, Zhang, Ren & Sun 2015, Delving deep into rectifiers",
        ),
        Paper(
            "du-2018",
            "sum(W dL/dW) is one number for all layers",
            "Du, Hu & Lee 2018, Algorithmic regularization in learning deep homogeneous models",
        ),
        Paper(
            "poole-2016",
            "order and chaos: where signal and correlation settle",
            "Poole et al. 2016, Exponential expressivity through transient chaos",
        ),
        Paper(
            "schoenholz-2017",
            "how deep a net can be trained",
            "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein 2017, Deep information propagation",
        ),
        Paper(
            "marginal-tanh",
            "critical tanh fades as a power law",
            "Roberts, Yaida & Hanin 2022, The principles of deep learning theory",
        ),
        Paper(
            "saxe-2014",
            "orthogonal weights keep every direction",
            "Saxe, McClelland & Ganguli 2014, Exact solutions to the nonlinear dynamics of learning",
        ),
        Paper(
            "pennington-2017",
            "whose Jacobian can be isometric",
            "Pennington, Schoenholz & Ganguli 2017, Resurrecting the sigmoid in deep learning",
        ),
        Paper(
            "xiao-2018",
            "tanh at the point that trains 10,000 layers",
            "Xiao et al. 2018, Dynamical isometry and a mean field theory of CNNs",
        ),
        Paper(
            "lu-2019",
            "deep narrow ReLU nets are born dead",
            "Lu, Shin, Su & Karniadakis 2019, Dying ReLU and initialization",
        ),
        Paper(
            "hanin-2018",
            "how much the signal differs from net to net",
            "Hanin 2018, Which neural net architectures give rise to exploding and vanishing gradients?",
        ),
        Paper(
            "yang-2019",
            "batch norm makes gradients explode at birth",
            "Yang, Pennington, Rao, Sohl-Dickstein & Schoenholz 2019, A mean field theory of batch normalization",
        ),
        Paper(
            "klambauer-2017",
            "SELU holds the signal, not the gradient",
            "Klambauer, Unterthiner, Mayr & Hochreiter 2017, Self-normalizing neural networks",
        ),
        Paper(
            "hayou-2019",
            "the edge of chaos of smooth activations",
            "Hayou, Doucet & Rousseau 2019, On the impact of the activation function on deep neural networks training",
        ),
        Paper(
            "residual-schemes",
            "residual nets at birth",
            "Bachlechner et al. 2020; De & Smith 2020; Zhang et al. 2019; Hayou et al. 2021; Veit et al. 2016",
        ),
        Paper(
            "nielsen-2015",
            "why early layers learn slowly",
            "Nielsen 2015, Neural networks and deep learning, chapter 5",
        ),
        Paper(
            "roberts-2022",
            "half-stable criticality of GELU and SiLU",
            "Roberts, Yaida & Hanin 2022, The principles of deep learning theory",
        ),
        Paper(
            "balduzzi-2017",
            "shattered gradients",
            "Balduzzi, Frean, Leary, Lewis, Ma & McWilliams 2017, The shattered gradients problem",
        ),
        Paper(
            "cho-saul-2009",
            "arc-cosine kernels of ReLU layers",
            "Cho & Saul 2009, Kernel methods for deep learning",
        ),
        Paper(
            "williams-1998",
            "the kernel of an erf layer",
            "Williams 1998, Computation with infinite neural networks",
        ),
        Paper(
            "glorot-2011",
            "rectifiers are sparse",
            "Glorot, Bordes & Bengio 2011, Deep sparse rectifier neural networks",
        ),
        Paper(
            "mishkin-2016",
            "unit variance layer by layer",
            "Mishkin & Matas 2016, All you need is a good init",
        ),
        Paper(
            "activations-article",
            "thirteen claims about activation functions",
            "Aspects of Deep Learning: Activation Functions",
        ),
    )
}


def find(names: list[str]) -> list[Paper]:
    """The papers of these names, in the order given, each once. Raises ConfigError with every unknown name."""
    problems = [
        Problem(
            "gradlab reproduce", f"unknown result {name!r}", ", ".join(PAPERS), nearest(name, list(PAPERS))
        )
        for name in names
        if name not in PAPERS
    ]
    if problems:
        raise ConfigError(problems)
    return [PAPERS[name] for name in dict.fromkeys(names)]
