"""The frozen records that every layer shares. Standard library only."""

from unetbench.records.asked import REFERENCE as REFERENCE
from unetbench.records.asked import SMALLEST_SIDE_PX as SMALLEST_SIDE_PX
from unetbench.records.asked import Case as Case
from unetbench.records.asked import Choice as Choice
from unetbench.records.asked import Network as Network
from unetbench.records.asked import Recipe as Recipe
from unetbench.records.found import DENORMALS_SEEN as DENORMALS_SEEN
from unetbench.records.found import HIGH_WATER_MARK as HIGH_WATER_MARK
from unetbench.records.found import MARGIN_EDGES as MARGIN_EDGES
from unetbench.records.found import MEASURED_CLASSES as MEASURED_CLASSES
from unetbench.records.found import Block as Block
from unetbench.records.found import Failure as Failure
from unetbench.records.found import Machine as Machine
from unetbench.records.found import Measurement as Measurement
from unetbench.records.found import Parity as Parity
from unetbench.records.found import Result as Result
from unetbench.records.found import RewriteReport as RewriteReport
from unetbench.records.found import Session as Session
from unetbench.records.found import Turn as Turn
from unetbench.records.limits import LIMITS_FACT as LIMITS_FACT
from unetbench.records.limits import Breakdown as Breakdown
from unetbench.records.limits import Kernel as Kernel
from unetbench.records.limits import LimitKind as LimitKind
from unetbench.records.limits import MachineLimits as MachineLimits
from unetbench.records.limits import Section as Section
from unetbench.records.limits import breakdown_fact as breakdown_fact
