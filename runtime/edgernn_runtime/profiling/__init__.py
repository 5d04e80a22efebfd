"""Profiling: step latency along an evolving stream, cold start, memory, operators, and the read floor.

The floor is the time to read the bytes of weights that one step reads once, from where they lie after a
step: the fastest of several readers over a buffer of that size, read once untimed just before.
"""

from edgernn_runtime.profiling.deadline import Deadline as Deadline
from edgernn_runtime.profiling.deadline import check_deadline as check_deadline
from edgernn_runtime.profiling.deadline import frame_period_us as frame_period_us
from edgernn_runtime.profiling.floor import Floor as Floor
from edgernn_runtime.profiling.interleaving import BLOCK_STEPS as BLOCK_STEPS
from edgernn_runtime.profiling.interleaving import WARMUP_STEPS as WARMUP_STEPS
from edgernn_runtime.profiling.interleaving import interleave as interleave
from edgernn_runtime.profiling.latency import Latency as Latency
from edgernn_runtime.profiling.measuring import Profile as Profile
from edgernn_runtime.profiling.measuring import profile as profile
from edgernn_runtime.profiling.memory import peak_rss_bytes as peak_rss_bytes
from edgernn_runtime.profiling.memory import rss_bytes as rss_bytes
from edgernn_runtime.profiling.operators import NodeTime as NodeTime
from edgernn_runtime.profiling.operators import OperatorTime as OperatorTime
from edgernn_runtime.profiling.operators import TracedStep as TracedStep
from edgernn_runtime.profiling.operators import copies as copies
from edgernn_runtime.profiling.operators import fold as fold
from edgernn_runtime.profiling.operators import read_trace as read_trace
from edgernn_runtime.profiling.record import operators_to_json as operators_to_json
from edgernn_runtime.profiling.record import soak_to_json as soak_to_json
from edgernn_runtime.profiling.record import sweep_to_json as sweep_to_json
from edgernn_runtime.profiling.record import to_json as to_json
from edgernn_runtime.profiling.size import model_bytes as model_bytes
from edgernn_runtime.profiling.soaking import Soak as Soak
from edgernn_runtime.profiling.soaking import soak as soak
from edgernn_runtime.profiling.start import ColdStart as ColdStart
from edgernn_runtime.profiling.start import cold_start as cold_start
from edgernn_runtime.profiling.stepping import random_values as random_values
from edgernn_runtime.profiling.stepping import stepper as stepper
from edgernn_runtime.profiling.sweeping import Variant as Variant
from edgernn_runtime.profiling.sweeping import sweep as sweep
from edgernn_runtime.profiling.tracing import StageTrace as StageTrace
from edgernn_runtime.profiling.tracing import Trace as Trace
from edgernn_runtime.profiling.tracing import chrome_trace as chrome_trace
from edgernn_runtime.profiling.tracing import trace_steps as trace_steps
