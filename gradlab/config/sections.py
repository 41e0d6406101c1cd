"""The sections of a configuration, one frozen model each: what may be asked for, and its defaults.

Values that name a part (an activation, an initialiser, a data set ...) stay texts here, in the grammar of
`gradlab.base.grammar`; `gradlab.config.bound` makes the parts of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from gradlab import sensors
from gradlab.tables.layers import layer_table
from gradlab.tables.spec import Option, TableSpec
from gradlab.tables.steps import STEPS

Count = Annotated[int, Field(ge=1)]
MOST = 1e18
"""The largest rate, decay or norm: products of two of them, and of one with an optimiser's factors, stay in float32."""
NonNegative = Annotated[float, Field(ge=0, le=MOST, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def differing(self) -> dict[str, Any]:
        """The values that are not the defaults, which identities are made of: a key more, with a default, changes no
        identity. So a default that changes takes a new RECIPE (`gradlab.config.plan`)."""
        return self.model_dump(exclude_defaults=True)


class Network(Section):
    activation: str = "sigmoid"
    """activation function of the hidden layers (gradlab list activations)"""
    depth: Annotated[int, Field(ge=1, le=100_000)] = 20
    """number of hidden layers"""
    width: Annotated[int, Field(ge=1, le=1_000_000)] = 64
    """units in each hidden layer"""
    init: str = "auto"
    """initialiser of weights and biases (gradlab list inits)"""
    norm: str = "none"
    """normalisation of each hidden layer (gradlab list norms)"""
    residual: str = "none"
    """residual scheme (gradlab list residuals)"""


class Data(Section):
    name: str = "digits"
    """a built-in data set, a file, a folder of IDX files, openml:NAME, or a function (gradlab list datasets)"""
    target: str = ""
    """the column (or array) of a data file to learn: the class, or a number; several columns between commas"""
    task: Literal["auto", "classification", "regression", "multilabel"] = "auto"
    """what the target is; auto leaves it to the column (text, truth values and few whole numbers are classes)"""
    csv: str = ""
    """how a CSV file is written where not with commas: sep=;:decimal=,:comment=#:na=NA, each if needed"""


class Training(Section):
    optimizer: str = "sgd"
    """optimiser, as torch.optim defines it"""
    lr: Annotated[float, Field(gt=0, le=MOST, allow_inf_nan=False)] = 0.03
    """learning rate"""
    schedule: str = "constant"
    """course of the learning rate, with :warmup=STEPS"""
    momentum: Annotated[float, Field(ge=0, lt=1)] | None = None
    """momentum; unset means the optimiser's own (gradlab list optimizers)"""
    weight_decay: NonNegative = 0.0
    """weight decay, as the optimiser defines it"""
    clip: NonNegative = 0.0
    """largest gradient norm of a replica; 0 does not clip"""
    loss: str = "cross_entropy"
    """training loss: a mean over the batch"""
    batch_size: Count = 64
    """samples in a batch"""
    steps: Annotated[int, Field(ge=0)] = 1000
    """updates; 0 records the initialisation alone"""
    stack_size: Annotated[int, Field(ge=1, le=4096)] = 8
    """seeds trained together in one stack"""


class RecordingBase(Section):
    """[recording] without the switches of the tables that are written when asked for."""

    record: str = "log"
    """when to record"""
    probe: str = "auto"
    """training rows held for dead units and signal statistics: a number, all, or auto (512; of wide inputs fewer)"""
    eval_rows: str = "auto"
    """validation rows behind the loss and score of a record, as for --probe; the last record takes all"""
    metrics: str = "standard"
    """standard, or full (with what published rules ask for); behind a comma your own package.module:function"""

    @property
    def asked(self) -> tuple[str, ...]:
        """The tables that are switched on, by name."""
        return tuple(name for name, option in _options().items() if getattr(self, option.name))

    def tables(self) -> dict[str, TableSpec]:
        """The tables of records that a run fills, by name."""
        every = (layer_table(self.metrics), STEPS, *(sensors.optional()[name].table for name in self.asked))
        return {table.name: table for table in every}


def _options() -> dict[str, Option]:
    """The switch of each table that has one."""
    tables = {name: sensor.table for name, sensor in sensors.optional().items()}
    return {name: table.option for name, table in tables.items() if table.option}


if TYPE_CHECKING:
    Recording = RecordingBase
else:
    Recording = create_model(
        "Recording",
        __base__=RecordingBase,
        **{
            option.name: (bool, Field(default=False, description=option.meaning))
            for option in _options().values()
        },
    )


class Run(Section):
    seeds: Count = 3
    """number of seeds"""
    first_seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """the first seed"""
    dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """number format of weights and training"""
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"
    """where to train; auto takes cuda, then mps, then cpu"""
    out: str = ""
    """results folder; empty means results/<name>-<hash>"""
    force: bool = False
    """replace what is in the results folder"""
    tables: Literal["csv", "parquet", "both"] = "csv"
    """format of the tables"""
    workers: Annotated[int, Field(ge=1, le=4096)] | None = None
    """worker processes; unset means one for each core, where the work is worth it"""
    executor: Literal["local", "ray"] = "local"
    """where stacks train: local for this machine, ray for a Ray cluster (needs the extra ray)"""
    ray_address: str = ""
    """the Ray cluster, auto or HOST:PORT; empty starts Ray on this machine"""
    gpus_per_stack: NonNegative = 0.0
    """share of a GPU that each stack reserves on a Ray cluster"""
    on_error: Literal["continue", "stop"] = "continue"
    """when a cell fails: continue with the others, or stop"""
    checkpoint: NonNegative = 60.0
    """seconds between checkpoints of a stack in training; 0 makes none"""
    save_weights: bool = False
    """keep the final weights, as safetensors"""


class Config(Section):
    """One resolved configuration: a value for every key of every section."""

    network: Network = Network()
    data: Data = Data()
    training: Training = Training()
    recording: Recording = Recording()
    run: Run = Run()
