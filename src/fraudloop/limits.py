"""Every limit of the package, with the argument for its number and how the limits relate.

An argument answers: which failure does a smaller number bring, and which a larger one? Names end in their unit
where they have one (`_US` microseconds, `_S` seconds, `_DAYS`, `_BYTES`, `_MINOR` minor units of a currency).
Limits are promises of `docs/semantics.md`: they are constants, not settings, because changing one changes features.
"""

from __future__ import annotations

from typing import Final

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_S: Final = 86_400
DAY_US: Final = DAY_S * SECOND_US

# --- the fold: what one key may hold -----------------------------------------------------------------------------

#: Kept events of a key in one window, up to which every window feature is exact. Smaller: an ordinary large merchant
#: (2,000 payments a day for 30 days) would already be approximate. Larger: one hot key could hold more than about
#: 4 MB (64 B an event), and an event late by a day would move that much memory in the middle of a decision.
EVENTS_PER_KEY_MAX: Final = 65_536

#: Buckets a window is cut into once its key is beyond EVENTS_PER_KEY_MAX. Smaller: counts late by more than 0.1 % of
#: the window. Larger: a hot key would need more than 32 kB a window and field.
BUCKETS_PER_WINDOW: Final = 1_024

#: Buckets of one window and its delay together. A window much shorter than its delay gets longer buckets than its
#: 1,024th part: an hour after thirty days would otherwise take 700,000 of them.
BUCKETS_MAX: Final = 16_384

#: How long behind its arrival an event may be and still enter the windows. Smaller: a nightly file of an acquirer, or
#: a phone that was offline overnight, would be decided without features. Larger: every key keeps its events that much
#: longer than its longest window.
LATENESS_MAX_US: Final = 24 * HOUR_US

#: How far ahead of its arrival an event may be dated. Smaller: a terminal with an ordinary clock (minutes off) would be
#: refused. Larger: one event of the future moves the newest time of its key, and so empties its windows, for that long.
SKEW_MAX_US: Final = 5 * 60 * SECOND_US

#: The longest window, and the longest delay of a window. Smaller: a year's habit could not be a feature. Larger:
#: the kept events of a key are no longer a working set but an archive.
WINDOW_MAX_US: Final = 400 * DAY_US

#: The shortest window. Below a second event times of different systems cannot be compared.
WINDOW_MIN_US: Final = SECOND_US

#: Different values (country, device, merchant) a key remembers to tell what is new. Smaller: a busy customer's own
#: merchants would come back as new. Larger: an attacker who rotates device ids could grow one key by more than 8 kB a
#: field; beyond it the value seen longest ago is dropped.
NOVELTY_VALUES_MAX: Final = 256

#: How long a value counts as known after it was last seen. Smaller: the yearly holiday is no matter, but a
#: half-yearly bill would be new each time. Larger: a card stolen long ago would still know its thief's country.
NOVELTY_DAYS: Final = 180
NOVELTY_S: Final = NOVELTY_DAYS * DAY_S
NOVELTY_US: Final = NOVELTY_S * SECOND_US

#: Home without a profile is the most frequent country and place of this many days: a season. Shorter: a long trip
#: becomes home. Longer: somebody who moved is away from home for months.
HOME_DAYS: Final = 90
HOME_US: Final = HOME_DAYS * DAY_US

#: Transactions needed before a home is believed. One or two may be the trip itself; more would leave a customer who
#: pays once a month without a home.
HOME_TRANSACTIONS_MIN: Final = 3

# --- a plan ------------------------------------------------------------------------------------------------------

#: Entities of a plan: customer, merchant, device, ip, card and a few of the user's own. Each one costs a state lookup
#: (a cache miss) for every transaction.
ENTITIES_MAX: Final = 8

#: Number fields and category fields of a plan. Each one makes every kept event 8 bytes larger.
NUMBERS_MAX: Final = 16
CATEGORIES_MAX: Final = 16

#: Features of a plan. The default set has about 60 and the union of champion, challenger, canary and rules a few
#: hundred; a vector of 512 is 4 kB. More is a mistake in a generated definition file.
FEATURES_MAX: Final = 512

#: Different (window, delay) pairs of a plan. Each one is followed for every entity and transaction; twenty are many.
WINDOWS_MAX: Final = 64

#: Length of a feature's, entity's, field's or column's name. Longer ones do not fit a table that a person reads.
NAME_CHARACTERS_MAX: Final = 128

# --- the door ----------------------------------------------------------------------------------------------------

#: |amount| in minor units, and every other exact number in its smallest unit: ten trillion euros. Smaller: large transfers in currencies with small units (IRR, VND)
#: would be refused. Larger: EVENTS_PER_KEY_MAX of them no longer fit an exact int64 sum with room to spare below.
AMOUNT_MINOR_MAX: Final = 10**15

#: Decimal digits after the point that a number field may keep (`value = integer / 10**scale`). More than 9 leaves
#: an int64 fewer than 10 digits before the point.
SCALE_MAX: Final = 9

#: The longest id in UTF-8 bytes. Smaller: signed tokens and device fingerprints of some hundred bytes would be
#: refused. Larger: an id is kept for the whole retention, so a sender could fill the disk with ids.
ID_BYTES_MAX: Final = 1_024

#: The longest other text (category, status, free column) in UTF-8 bytes; a category is a word, not a document.
TEXT_BYTES_MAX: Final = 1_024

#: Words (categories, countries, minutes) whose reading the door for one transaction remembers, each kind apart. Fewer: the 5,000
#: cities or categories of a large caller would be read anew each time. More: a sender of ever new words would grow the scorer
#: by more than a megabyte a field before they are forgotten.
WORDS_REMEMBERED_MAX: Final = 8_192

#: How old or how far in the future the time of an event may be at all: 1970 to 2100. Outside is a wrong unit
#: (seconds read as milliseconds); inside, what a key remembers of a time fits the bits it has (seconds in 32, days in 16).
TIMESTAMP_MIN_US: Final = 0
TIMESTAMP_MAX_US: Final = 4_102_444_800 * SECOND_US

#: Minutes that a local clock may be from UTC: the time zones of the world go from -12:00 to +14:00.
UTC_OFFSET_MIN_MINUTES: Final = -12 * 60
UTC_OFFSET_MAX_MINUTES: Final = 14 * 60

#: Coordinates are integers in units of 1e-7 degree (11 mm), the finest that fits int32.
DEGREE_E7: Final = 10_000_000

#: How long ids, and with them stored answers, are remembered. Shorter: a retry of a dispute (13 months at most with
#: the card schemes) would be taken for a new payment.
RETENTION_DAYS: Final = 400

# --- files -------------------------------------------------------------------------------------------------------

#: Columns of an input table. Real ones have below 500; more is a wrong delimiter or a transposed file.
COLUMNS_MAX: Final = 2_048

#: Transactions of one `Fold.step` over history, so that memory follows the run and not the file:
#: 1,048,576 rows of 60 features are 500 MB.
STEP_ROWS_MAX: Final = 1_048_576

# --- rules -------------------------------------------------------------------------------------------------------

#: A rule's condition: one line that an analyst reads. Longer is a program, and nobody can say any more what it does.
RULE_CHARACTERS_MAX: Final = 2_000

#: How deep a condition nests. Deeper ones come from generators, and would take the parser's stack.
RULE_DEPTH_MAX: Final = 32

#: Parts of a condition: names, constants, operators. Each costs the evaluator about a nanosecond a payment.
RULE_NODES_MAX: Final = 256

#: Rules of a set. Some hundred are usual with banks; a thousand of some ten parts each are 10 µs a payment.
RULES_MAX: Final = 1_000

# --- control -----------------------------------------------------------------------------------------------------

#: Characters of who or why of a change. Less than a sentence or two says nothing; more is a document, which belongs elsewhere.
CONTROL_TEXT_CHARACTERS_MAX: Final = 2_000

#: Entries that one command sets or takes away. They are one group of the log, written between two batches: 10,000 are about a
#: millisecond in which nothing is decided. Fewer: the import of a shared fraud list takes hours of commands.
ENTRIES_A_COMMAND_MAX: Final = 10_000

#: Entries of block, allow and watch lists together. Smaller: a large issuer's stolen cards do not fit. Larger: more than about
#: 1 GB of the scorer's memory for what is better a feature.
ENTRIES_MAX: Final = 1_000_000

#: Bytes of all published named lists, which are one record of the log: words like countries, categories, domains. Larger ones are
#: entries of an entity, or a column of one's own.
NAMED_LISTS_BYTES_MAX: Final = 512 * 1024

# --- guards ------------------------------------------------------------------------------------------------------

#: The share of payments that one rule may act on before it is taken back. All alerts together are usually below one in a hundred.
#: Smaller: a campaign of fraud, which a good rule is there to meet, would switch it off. Larger: a mistyped rule stops that many
#: customers until somebody looks.
GUARD_RULE_SHARE_MAX: Final = 0.05

#: The same of a model: what its tiers decline, and what they review or decline. A drift of the input moves these first.
GUARD_DECLINE_SHARE_MAX: Final = 0.05
GUARD_STOP_SHARE_MAX: Final = 0.15

#: Windows of a guard. The short one takes a bad rule back within seconds at a thousand payments a second; the long one sees it where a
#: minute holds too few payments to tell.
GUARD_WINDOWS_S: Final = (60, 3_600)

#: Payments in a window before it is believed. Fewer: at a share of 5 % the chance alone makes 8 % of 100 payments now and then; of
#: 500 payments it makes more than twice the limit less than once in 10^15 windows. More: a shop of 500 payments an hour has no guard.
GUARD_PAYMENTS_MIN: Final = 500

#: Payments after which shares are looked at again; with less traffic, at the next arrival in a later part of a window (a second). Fewer:
#: a look costs about 10 µs, and a batch may have a few payments. More: so many more payments meet a bad rule.
GUARD_LOOK_PAYMENTS: Final = 256

#: The part of its limit that a share must fall to before a guard that has tripped may trip again. Nearer to 1: a share that
#: swings about the limit raises an alarm with each swing. Smaller: a second fault soon after the first is not told.
GUARD_RELEASE: Final = 0.8

# --- the log -----------------------------------------------------------------------------------------------------

#: One record: an event or a decision with its vector (512 features are 4 kB). Larger is not a payment but a document.
LOG_RECORD_BYTES_MAX: Final = 1024 * 1024

#: Records of one group, which is a micro-batch of payments with their decisions. Larger groups wait longer for the
#: first of them and are lost as a whole when torn.
LOG_RECORDS_MAX: Final = 65_536
LOG_GROUP_BYTES_MAX: Final = 16 * 1024 * 1024

#: A segment. Smaller: a busy day (100 GB) would be tens of thousands of files. Larger: reading the last one after a
#: crash takes longer than a service may be away (256 MB are about half a second).
LOG_SEGMENT_BYTES: Final = 256 * 1024 * 1024

#: Zeros that a service keeps at the end of its segment, so that most flushes are one write to the disk. Fewer: more flushes lengthen the file too.
#: More: the flush that does takes longer than a batch.
LOG_AHEAD_BYTES: Final = 256 * 1024

# --- beside the log ----------------------------------------------------------------------------------------------

#: Processes that seal records while a history is imported. The one that folds and appends keeps up with about four; more would wait for it, each
#: with some 200 MB.
IMPORT_PROCESSES_MAX: Final = 4

#: Records that an index takes in one transaction. Smaller: each commit is a flush, and keys that are sorted by the batch touch
#: as many pages of the lookup as there are rows. Larger: a kill loses more work, and rows wait in memory (about 1 kB each).
INDEX_BATCH_RECORDS: Final = 50_000

#: Rows of one page of decisions. A person reads some dozens; a program that wants all takes the export.
INDEX_PAGE_MAX: Final = 1_000

#: Payments of a row group of the export, and with it of memory: 32,768 with 512 features are 130 MB, with the default set 20 MB.
#: Smaller: readers of columns seek more than they read.
EXPORT_ROWS: Final = 32_768

#: Free share of the disk below which it is low, however slow the log grows: somebody should have hours to act, and file systems
#: slow down and fragment when nearly full.
DISK_LOW_SHARE: Final = 0.10

#: Free bytes below which nothing more is decided. Smaller: the segment that is being written may not fit to its end, and what is
#: in flight fails instead of being refused. Larger: disk that nobody may use.
DISK_FULL_BYTES: Final = 256 * 1024 * 1024

#: Customers erased from one vault. Each leaves some 60 to 90 seeds of 16 bytes in memory and in its file: 200,000 are 300 MB. More than
#: that is not single people asking but a portfolio leaving: begin a new log.
VAULT_ERASED_MAX: Final = 200_000

#: Ciphers of customers kept ready, 2.3 kB each in the library: 19 MB. Smaller: the keys of customers who pay again within minutes are
#: derived anew (3 µs a payment). Larger: memory, and more keys in it than need be.
VAULT_CACHE: Final = 8_192

# --- bundles -----------------------------------------------------------------------------------------------------

#: One file of a bundle. A booster of 2,000 trees of depth 8 is about 60 MB; larger is not a model but an accident,
#: and reading it would take the scorer's memory.
BUNDLE_FILE_BYTES_MAX: Final = 512 * 1024 * 1024

#: Files of a bundle; an ensemble of a few members has about 30.
BUNDLE_FILES_MAX: Final = 256

# --- the bundle store ---------------------------------------------------------------------------------------------

#: How long a writer waits for another one. Putting the largest bundle takes seconds; a person is told after ten that
#: somebody holds the store, rather than left with a prompt that hangs.
STORE_LOCK_WAIT_S: Final = 10.0

#: Characters of who or why in the history. Less than a sentence or two says nothing; more is a document, which belongs elsewhere.
STORE_TEXT_CHARACTERS_MAX: Final = 2_000

#: Bytes of a history that are read at once: 64 MB are about 80,000 changes of one model's aliases; more is damage.
STORE_HISTORY_BYTES_MAX: Final = 64 * 1024 * 1024

# --- HTTP --------------------------------------------------------------------------------------------------------

#: A request's head. Smaller: long tokens, cookies of a console and trace headers would be refused. Larger: memory for
#: whoever sends nonsense, on every connection.
HTTP_HEAD_BYTES_MAX: Final = 16 * 1024

#: The body of one payment, label or command. Smaller: payments with some dozen own fields would be refused. Larger:
#: a decoder that is kept busy for more than a tenth of a millisecond by one caller.
HTTP_BODY_BYTES_MAX: Final = 64 * 1024

#: The body of a batch: a thousand rows of 60 named features are 1.5 MB. Larger: decoding alone would hold up decisions
#: for more than ten milliseconds.
HTTP_BATCH_BYTES_MAX: Final = 4 * 1024 * 1024

#: The body of rules, lists and policies, which people publish: a list of 100,000 words is 2 MB.
HTTP_CONTROL_BYTES_MAX: Final = 8 * 1024 * 1024

#: Events or rows of one batch. Smaller: their share of the request's cost is felt. Larger: the same holding up.
HTTP_BATCH_ROWS_MAX: Final = 1_000

#: Rows of a batch between two turns of the loop: some hundred microseconds, less than a micro-batch of payments takes.
HTTP_BATCH_ROWS_A_TURN: Final = 64

#: Bytes that a client may send ahead while its present request is under way; then its connection is not read. Enough
#: for a head and a body, so that a request sent ahead is whole when its turn comes.
HTTP_AHEAD_BYTES_MAX: Final = 128 * 1024

#: Open connections. Smaller: a fleet of a few hundred clients with pools of 8 would be turned away. Larger: with
#: 144 kB each at worst, senders of nonsense could take more than about 1.2 GB; and files beyond usual limits of a process.
HTTP_CONNECTIONS_MAX: Final = 8_192

#: Heads that are remembered, each of at most this many bytes: a client has one for each path and length of body, so a
#: fleet fits; 16 MB at worst.
HTTP_HEADS_MAX: Final = 8_192
HTTP_HEAD_REMEMBERED_BYTES_MAX: Final = 2_048

#: How long a request may take to come in whole. Shorter: a batch over a bad mobile line would be cut. Longer: whoever
#: sends a byte a second holds a connection.
HTTP_REQUEST_S_MAX: Final = 15

#: How long a connection may be silent. Longer than the 60 seconds after which balancers drop theirs: the side that
#: closes first must be the client's, or it sends a request into a closing connection.
HTTP_IDLE_S_MAX: Final = 75

#: How long a client may leave an answer unread before its connection is cut.
HTTP_UNREAD_S_MAX: Final = 30

#: How long after a refusal further bytes of the refused request are swallowed, so that the answer is read before the
#: connection is reset.
HTTP_LINGER_S: Final = 2

#: How long a shutdown waits for requests under way; a supervisor kills after about 30 seconds.
HTTP_DRAIN_S_MAX: Final = 20

#: A page or document of the desk that is passed on. Larger ones (exports) are files that the desk writes.
RELAY_BYTES_MAX: Final = 32 * 1024 * 1024

#: Requests that are passed on to the desk at a time: it is for people and scrapers. More would wait there instead,
#: each with a socket of the scorer.
RELAY_REQUESTS_MAX: Final = 32

#: How long the desk may take. Longer than any page needs; shorter than a browser's own patience.
RELAY_S_MAX: Final = 20

#: API keys. Each costs a line of a file that is read once a second when it changed; more belong into a gateway.
API_KEYS_MAX: Final = 10_000

#: Addresses whose request rate is followed while the service is open; the one that has been quiet longest goes first.
ADDRESSES_MAX: Final = 16_384

#: Lines of decisions that wait for a slow reader of the log; beyond it they are dropped and counted, never waited for.
LOG_LINES_WAITING_MAX: Final = 65_536

INT64_MAX: Final = 2**63 - 1
INT32_MAX: Final = 2**31 - 1

# --- the synthetic world -----------------------------------------------------------------------------------------

#: Transactions of a synthetic world. Fewer cannot hold a run of each scheme; more do not fit the ten digits of their
#: ids, and the rows that are planned ahead (a tenth, 80 B each) would need more than 16 GB.
SIMULATED_TRANSACTIONS_MIN: Final = 100
SIMULATED_TRANSACTIONS_MAX: Final = 2_000_000_000

#: Customers: below, a share of them means nothing; above, their device numbers (8 each) would reach those of fraudsters.
SIMULATED_CUSTOMERS_MIN: Final = 10
SIMULATED_CUSTOMERS_MAX: Final = 100_000_000

#: Merchants: fewer leave no shop in two countries and one online in each; more are beyond any acquirer, and only cost
#: memory.
SIMULATED_MERCHANTS_MIN: Final = 20
SIMULATED_MERCHANTS_MAX: Final = 10_000_000

#: Days: every hour is planned for every clock and habit, about 1 kB an hour; ten years are 100 MB.
SIMULATED_DAYS_MAX: Final = 3_660

#: Changes of the fraud pattern with time. Each has device numbers of its own for its fraudsters; 64 stretches fill them.
SIMULATED_CHANGES_MAX: Final = 63

#: Fraud rate: below 1 in 10,000 a demo world holds no fraud; above 1 in 5 it is no longer the rare thing to look for.
SIMULATED_FRAUD_RATE_MIN: Final = 0.0001
SIMULATED_FRAUD_RATE_MAX: Final = 0.2

# --- how they relate ---------------------------------------------------------------------------------------------
# Programmer errors: checked on import, before any event is read.

assert EVENTS_PER_KEY_MAX & (EVENTS_PER_KEY_MAX - 1) == 0, "kept events grow by doubling up to the bound"
assert BUCKETS_PER_WINDOW * 32 <= EVENTS_PER_KEY_MAX, "the approximate form of a key is far smaller than the exact one"
assert AMOUNT_MINOR_MAX * 9_223 <= INT64_MAX, "up to 9,223 largest amounts fit an int64; a full window of them needs 128 bits"
assert AMOUNT_MINOR_MAX < 2**53, "every amount is exact as a float64 too"
assert AMOUNT_MINOR_MAX**2 * EVENTS_PER_KEY_MAX < 2**127, "sums of squares of a full window fit 128 bits"
assert 0 < SKEW_MAX_US < LATENESS_MAX_US < WINDOW_MAX_US, "clocks are off by less than mail is late, and mail by less than a window"
assert 0 < WINDOW_MIN_US < WINDOW_MAX_US, "there are windows"
assert WINDOW_MAX_US <= RETENTION_DAYS * DAY_US, "no window looks back past what is kept"
assert HOME_DAYS <= NOVELTY_DAYS <= RETENTION_DAYS, "a home outlives no memory of its places, and these no event"
assert 2 * WINDOW_MAX_US + LATENESS_MAX_US + TIMESTAMP_MAX_US < INT64_MAX, "time arithmetic never wraps"
assert TIMESTAMP_MAX_US // SECOND_US < 2**32, "a key remembers when it last saw a value in 32 bits of seconds"
assert TIMESTAMP_MAX_US // DAY_US < 2**16, "and where it was on a day in 16 bits of days"
assert 180 * DEGREE_E7 <= INT32_MAX, "a longitude fits int32"
assert UTC_OFFSET_MIN_MINUTES < 0 < UTC_OFFSET_MAX_MINUTES, "zones lie on both sides of UTC"
assert ENTITIES_MAX <= 32, "the approximate mask of a vector has 32 bits, and a plan fewer entities"
assert WINDOWS_MAX <= FEATURES_MAX, "a feature has one window"
assert LOG_RECORD_BYTES_MAX < LOG_GROUP_BYTES_MAX < LOG_SEGMENT_BYTES < 2**32, (
    "a segment holds groups, a group records; lengths fit 32 bits"
)
assert NAMED_LISTS_BYTES_MAX < LOG_RECORD_BYTES_MAX, "the named lists fit a record"
assert ENTRIES_A_COMMAND_MAX <= LOG_RECORDS_MAX, "a command is one group of the log"
assert ENTRIES_A_COMMAND_MAX * ID_BYTES_MAX < LOG_GROUP_BYTES_MAX, "with the longest ids too"
assert LOG_SEGMENT_BYTES <= DISK_FULL_BYTES, "a segment that was begun can be written to its end"
assert LOG_RECORDS_MAX >= EXPORT_ROWS, "a group fills a row group of the export at most a few times"
assert GUARD_DECLINE_SHARE_MAX <= GUARD_STOP_SHARE_MAX < 1, "what is declined is stopped too"
assert 0 < GUARD_RELEASE < 1, "a guard lets go below where it trips"
assert SIMULATED_TRANSACTIONS_MAX < 10**10, "ids have ten digits"
assert SIMULATED_CUSTOMERS_MAX * 8 < 2**30, "devices of customers lie below those of fraudsters"
assert HTTP_HEAD_REMEMBERED_BYTES_MAX <= HTTP_HEAD_BYTES_MAX < HTTP_BODY_BYTES_MAX < HTTP_BATCH_BYTES_MAX <= HTTP_CONTROL_BYTES_MAX, (
    "a head is smaller than a body, and a body than a batch"
)
assert HTTP_HEAD_BYTES_MAX + HTTP_BODY_BYTES_MAX <= HTTP_AHEAD_BYTES_MAX, "a request that was sent ahead fits what is kept"
assert HTTP_BODY_BYTES_MAX <= LOG_RECORD_BYTES_MAX, "a body that is taken can be logged"
assert HTTP_REQUEST_S_MAX < HTTP_UNREAD_S_MAX < HTTP_IDLE_S_MAX, "the idle wait longest"
assert RELAY_S_MAX <= HTTP_DRAIN_S_MAX, "what is passed on when a shutdown begins may still be answered"
