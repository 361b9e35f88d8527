"""Where everything stands in the plan table and in the arena: the one vocabulary of plan, kernel and fold.

All state is one array of int64 words, the *arena*. It opens with the control words below and a scratch header; then
come the blocks: a header for every key, and the kept events, novelty values, home counts and buckets that headers
point to. The plan table is six small int64 arrays, one row each for an entity, stream, record field, window,
accumulator and output. A new plan is new numbers in these arrays; the kernel stays as compiled.
"""

from __future__ import annotations

from typing import Final

# --- control words of the arena ----------------------------------------------------------------------------------
C_TOP: Final = 0  # first word never used by a block
C_RECEIVED: Final = 1  # newest received_us so far: the clock of late and early
C_DIGEST: Final = 2  # 2 words
C_KEYS: Final = 4  # rows used of the key table
C_SLOTS: Final = 5  # headers made so far
C_TRANSACTIONS: Final = 6  # transactions read
C_ABSORBED: Final = 7  # transactions that entered the windows
C_LATE: Final = 8  # too late
C_EARLY: Final = 9  # too early
C_LABELS: Final = 10
C_PROFILES: Final = 11
C_SWEEP: Final = 12  # next slot that the sweep looks at
C_HOT: Final = 13  # streams in the approximate form
C_LIVE_WORDS: Final = 14  # words in blocks in use
C_EPOCH: Final = 15  # stamp of the scratch hash
C_SWEEP_END: Final = 147  # headers named by transactions so far
C_FRESH: Final = 148  # keys that came since somebody last looked at the list of their rows
FRESH_ROWS: Final = 16_384  # of that list
C_CAPACITY: Final = 144  # words of the arena
C_TABLE_ROWS: Final = 145  # rows of the key table
C_SLOTS_ROWS: Final = 146
C_COUNTERS: Final = 16  # by key space the code of its newest key
C_SPACES: Final = 64  # words of it
C_FREE: Final = 160  # 256 words: first free block of each size class
C_SCRATCH: Final = 416  # scratch header of a late event
SCRATCH_WORDS: Final = 4096
C_BLOCKS: Final = C_SCRATCH + SCRATCH_WORDS

# --- key table row -----------------------------------------------------------------------------------------------
T_HI: Final = 0
T_LO: Final = 1
T_CODE: Final = 2  # key space << 32 | code, codes from 1; 0 is an empty row
T_HEADER: Final = 3  # arena word of the header, 0 for categories
T_WORDS: Final = 4

# --- header of a key ---------------------------------------------------------------------------------------------
H_ENTITY: Final = 0
H_CODE: Final = 1
H_FIRST: Final = 2  # event time first seen
H_NEWEST: Final = 3  # newest event or known time: windows are never moved back behind it
H_SLOT: Final = 4  # place in the list of headers
H_FIXED: Final = 5

# profile words, relative to E_PROFILE
P_OPENED: Final = 0
P_OFFSET: Final = 1
P_COUNTRY: Final = 2  # code of the home country
P_PLACE: Final = 3  # latitude and longitude
P_WORDS: Final = 4

# last-event words, relative to E_LAST: what the newest event that left the kept ones was
L_TIME: Final = 0
L_PLACED_TIME: Final = 1
L_PLACE: Final = 2
L_NOW_TIME: Final = 3  # the newest event with a place, whether kept or not
L_NOW_PLACE: Final = 4
L_WORDS: Final = 5

# home words, relative to E_HOME
M_BLOCK: Final = 0
M_COUNTS: Final = 1  # used << 32 | capacity
M_DAY: Final = 2  # day of the answer below, -1 when it must be computed
M_ANSWER: Final = 3  # cell << 32 | country
M_MARGINS: Final = 4  # of the cell << 32 | of the country: how many transactions it would take to change the answer
M_WORDS: Final = 5

# novelty words of a field
N_BLOCK: Final = 0
N_COUNTS: Final = 1  # used << 32 | capacity
N_WORDS: Final = 2

# stream words, relative to S_HEADER
R_BLOCK: Final = 0  # block of kept events, 0 when there is none; of the buckets' pointers when hot
R_SPAN: Final = 1  # start | end << 20 | capacity << 40, or -1 when hot
R_WORDS: Final = 2

# --- numbers that the kernel knows, after those of the feature set -----------------------------------------------
SYSTEM_NUMBERS: Final = (
    "latitude", "longitude", "utc_offset", "zone_offset", "home_latitude", "home_longitude", "opened_at",
    "transaction_time", "before", "after", "before_known_at", "absorbed",
)  # fmt: skip
N_LATITUDE: Final = 0
N_LONGITUDE: Final = 1
N_UTC_OFFSET: Final = 2
N_ZONE_OFFSET: Final = 3
N_HOME_LATITUDE: Final = 4
N_HOME_LONGITUDE: Final = 5
N_OPENED_AT: Final = 6
N_TRANSACTION_TIME: Final = 7
N_BEFORE: Final = 8
N_AFTER: Final = 9
N_BEFORE_KNOWN_AT: Final = 10
N_ABSORBED: Final = 11

# --- what the kernel is told beside the tables -------------------------------------------------------------------
G_COUNTRY: Final = 0  # key column
G_HOME_COUNTRY: Final = 1
G_SYSTEM: Final = 2  # first system number column
G_NIGHT_FROM: Final = 3
G_NIGHT_TO: Final = 4
G_OF_TRANSACTION: Final = 5  # outputs [0, here) are of the transaction alone
G_OF_FEATURES: Final = 6  # outputs [here, ...) are of other features
G_RESERVE: Final = 7  # words that one event may need at most
G_ENTITIES: Final = 8
G_OUTPUTS: Final = 9
G_KEYS: Final = 10  # key columns of the plan
G_WORDS: Final = 11

# --- plan: entities ----------------------------------------------------------------------------------------------
E_KEY: Final = 0  # key column
E_WORDS: Final = 1  # words of a header
E_PROFILE: Final = 2
E_LAST: Final = 3
E_HOME: Final = 4
E_NOVELTY0: Final = 5  # first row in the novelty table
E_NOVELTYN: Final = 6
E_STREAM0: Final = 7
E_STREAMN: Final = 8
E_PRE0: Final = 9  # outputs before the event is absorbed
E_PREN: Final = 10
E_POST0: Final = 11
E_POSTN: Final = 12
E_LAST_STREAM: Final = 13  # the stream whose events answer "the last one before"
E_PLACE_WORD: Final = 14  # its record word with the place, -1
E_FRAUD_STREAM: Final = 15  # stream of known frauds, -1
E_IDLE: Final = 16  # microseconds after which a key without events shrinks to its header
E_NEED: Final = 17  # bits below
E_COLUMNS: Final = 18

NEED_TRAVEL: Final = 1
NEED_HOME: Final = 2
NEED_LAST: Final = 4
NEED_LAST_FRAUD: Final = 8

# --- plan: novelty -----------------------------------------------------------------------------------------------
V_KEY: Final = 0
V_HEADER: Final = 1
V_COLUMNS: Final = 2

# --- plan: streams -----------------------------------------------------------------------------------------------
S_ENTITY: Final = 0
S_LABELS: Final = 1  # 1: known frauds by known time
S_RECORD: Final = 2  # words of a record
S_HORIZON: Final = 3  # microseconds kept behind the newest
S_HEADER: Final = 4
S_WIN0: Final = 5
S_WINN: Final = 6
S_FIELD0: Final = 7
S_FIELDN: Final = 8
S_CATS: Final = 9
S_CAT_WORD: Final = 10  # first record word with category codes
S_FRAUD_WORD: Final = 11  # -1
S_HOT_WORDS: Final = 12  # words of the block that holds the approximate form
S_HLL: Final = 13  # where in it the distinct tables start
S_DISTINCT0: Final = 14  # its distinct counts once more among the accumulators, by category, the longest window first
S_DISTINCTN: Final = 15
S_INDEX_FROM: Final = 16  # capacity from which it keeps a hash of the last occurrences
S_COLUMNS: Final = 17

# --- plan: record fields -----------------------------------------------------------------------------------------
F_KIND: Final = 0
F_SOURCE: Final = 1  # number or key column
F_WORD: Final = 2
F_SHIFT: Final = 3  # 0 or 32, of a category code
F_COLUMNS: Final = 4
FIELD_NUMBER: Final = 0
FIELD_FRAUD: Final = 1
FIELD_PLACE: Final = 2
FIELD_CATEGORY: Final = 3

# --- plan: windows -----------------------------------------------------------------------------------------------
W_LENGTH: Final = 0
W_DELAY: Final = 1
W_HEADER: Final = 2  # word of the cursors: entered << 32 | left
W_ACC0: Final = 3
W_ACCN: Final = 4
W_BUCKET_US: Final = 5
W_BUCKETS: Final = 6
W_BUCKET_WORDS: Final = 7
W_HOT: Final = 8  # where in the hot block this window's buckets start
W_COLUMNS: Final = 9

# --- plan: accumulators ------------------------------------------------------------------------------------------
A_KIND: Final = 0
A_WORD: Final = 1
A_SHIFT: Final = 2
A_HEADER: Final = 3
A_BUCKET: Final = 4  # word in a bucket
A_CURSORS: Final = 4  # in the rows S_DISTINCT0 .. S_DISTINCTN: word of the window's cursors
A_CAT: Final = 5  # index among the categories of the stream
A_COLUMNS: Final = 6
ACC_SUM: Final = 0  # 2 words: low 64 bits; high bits << 32 | n
ACC_SQUARES: Final = 1  # 2 words: low, high
ACC_MIN: Final = 2
ACC_MAX: Final = 3
ACC_DISTINCT: Final = 4

# --- plan: outputs -----------------------------------------------------------------------------------------------
O_OP: Final = 0
O_COLUMN: Final = 1
O_WINDOW: Final = 2
O_STREAM: Final = 3
O_ACC: Final = 4  # header word of the first accumulator
O_ACC2: Final = 5
O_POWER: Final = 6  # 10**scale
O_ARG: Final = 7
O_HAS_MISSING: Final = 8
O_COLUMNS: Final = 9
OP_COUNT: Final = 0
OP_SUM: Final = 1
OP_MEAN: Final = 2
OP_STD: Final = 3
OP_MIN: Final = 4
OP_MAX: Final = 5
OP_DISTINCT: Final = 6
OP_DISTINCT_SCAN: Final = 7
OP_RATE: Final = 8
OP_DEVIATION: Final = 9
OP_EVENT: Final = 10  # a value of the event as such, from the list below
OP_IS_NEW: Final = 11
OP_NUMBER: Final = 12
OP_RATIO: Final = 13
OP_DIFFERENCE: Final = 14
OP_STREAK: Final = 15
OP_SINCE_GENUINE: Final = 16

X_SINCE_LAST: Final = 0
X_SINCE_FRAUD: Final = 1
X_KM_LAST: Final = 2
X_SPEED: Final = 3
X_IMPOSSIBLE: Final = 4
X_KM_HOME: Final = 5
X_FOREIGN: Final = 6
X_AGE: Final = 7
X_HOUR: Final = 8
X_WEEKDAY: Final = 9
X_WEEKEND: Final = 10
X_NIGHT: Final = 11
X_COUNT: Final = 12

# --- home counts: day << 48 | cell << 23 | country << 13 | transactions ------------------------------------------
HOME_CELL_NONE: Final = 33_554_431  # 25 bits
HOME_COUNTRY_NONE: Final = 1_023  # 10 bits
HOME_COUNT_MAX: Final = 8_191  # 13 bits
HOME_ENTRIES_MAX: Final = 4_096

# --- scratch hash ------------------------------------------------------------------------------------------------
SCRATCH_HASH: Final = 262_144  # entries, a power of two of at least twice the kept events of a key

# --- approximate form --------------------------------------------------------------------------------------------
B_TAG: Final = 0  # bucket number
B_COUNT: Final = 1
B_FIXED: Final = 2
HOT_LOW: Final = 0  # of a window: first bucket counted
HOT_HIGH: Final = 1  # last bucket counted
HOT_TOTAL: Final = 2  # events counted
HOT_FIXED: Final = 3
HOT_DIGEST: Final = 2  # words at the end of the block: what the key's events in this form are in the digest
HLL_REGISTERS: Final = 1024
HLL_RANKS: Final = 48
INDEX_FROM: Final = 128  # events of its longest distinct window from which a stream keeps a hash of the last occurrences
INDEX_FROM_MAX: Final = 1024  # and capacity from which it does in any case
NO_INDEX: Final = 1 << 40  # more than any capacity
