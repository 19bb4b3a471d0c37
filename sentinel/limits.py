# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Every bound on what the outside may make us hold or do: value, unit, arithmetic, reason.

A number that bounds untrusted input stands here and nowhere else, grouped by stage.
"""

KIB = 1024
MIB = 1024 * KIB

# --- sflow ---------------------------------------------------------------------------------------
# One UDP datagram over IPv4 without jumbograms: 65,535 - 20 (IP) - 8 (UDP).
MAX_DATAGRAM_BYTES = 65_507
# A sampled header: two VLAN tags (QinQ) are usual, three are seen; labels likewise, and hardware pushes no more than
# 16.
MAX_VLAN_TAGS = 8
MAX_MPLS_LABELS = 16
# RFC 8200 section 4.1 names six kinds of extension header, one of which may stand twice; twice that.
MAX_EXTENSION_HEADERS = 14
# Tunnels inside tunnels: an overlay in an overlay in a provider's tunnel is three.
MAX_TUNNEL_DEPTH = 8
# Headers of one packet: link, network and tunnel header of each layer.
MAX_HEADER_STEPS = 4 * (MAX_TUNNEL_DEPTH + 1)
# Streams (agent, sub-agent) whose health is kept, under 2 KiB each without their data sources: ten times a large
# fabric.
MAX_AGENT_STREAMS = 10_000
# Ports of a large chassis with breakouts, in and out and discards; some 300 octets each.
MAX_DATA_SOURCES_PER_STREAM = 2_048
# Seconds of silence after which a stream's place may be given to a new one.
AGENT_FORGOTTEN_S = 3_600.0
# Data sources of all streams together: 60 MB.
MAX_DATA_SOURCES = 200_000
# A jump of the numbers by more is a stream that began anew, not loss: a minute at 16,000 datagrams/s.
MAX_SFLOW_SEQUENCE_GAP = 1_000_000
# Numbers that datagrams may come out of order by: ECMP towards the collector swaps neighbours, not dozens.
SEQUENCE_WINDOW = 64
# Milliseconds by which the uptime of a datagram that was overtaken may lie back.
UPTIME_SLACK_MS = 5_000
# Uptime wraps after 49.7 days; within an hour of that, going back is not a restart.
UPTIME_WRAP_MS = 3_600_000
# Sampling rates shown per stream: one per port speed, doubled while a busy agent backs off.
MAX_SAMPLING_RATES_KEPT = 16
# Unknown formats named per stream; the rest are counted together.
MAX_UNKNOWN_TAGS_KEPT = 32
# Counter samples a second that each scan decodes for what they say of a switch's tables, at some 60 µs. Switches say it
# every 20 s or so: 500 is ten times a fabric of a thousand, and 3 % of a core when somebody sends nothing else.
MAX_COUNTERS_TOLD_PER_S = 500
# (agent, sender) pairs remembered as heard by the plain scan, some 200 octets each; more than configured agents.
MAX_ADMITTED_KEPT = 10_000
# Refused pairs of agent and sender that are named, for each scan.
MAX_REFUSALS_SHOWN = 32
# Of these in one line of the log, a minute.
MAX_REFUSALS_LOGGED = 8
# Datagrams read at a time: at 1,400 octets 360 KB, well under a millisecond of decoding in the compiled scan.
LISTENER_BATCH_DATAGRAMS = 256
# Seconds: a rest after a receive error, between two log lines of one kind, and what a batch under way may take at the
# end.
LISTENER_ERROR_PAUSE_S = 0.1
LISTENER_LOG_INTERVAL_S = 10.0
LISTENER_STOP_S = 10.0
# Receiving threads, each with a socket and a scan of its own: more than one for each core is of no use.
MAX_SCAN_THREADS = 64
# Milliseconds that a reader waits for datagrams before it looks up.
LISTENER_WAIT_MS = 1_000

# --- scan ----------------------------------------------------------------------------------------
# Flows between two takings of the table, at 104 octets each and 8 of slots: 4 MB, which stays in a core's share of the
# cache. It is given away half full: at a million samples a second of nothing but new flows every 16 ms.
MAX_FLOWS = 32_768
# Tables that wait for one consumer of flows: two seconds of a thread with 240,000 new flows a second, and 1.7 MB each
# half full, so 54 MB.
MAX_FLOW_TABLES_WAITING = 32
# Agents in that table: more than MAX_AGENT_STREAMS.
MAX_FLOW_AGENTS = 16_384
# --- flows ---------------------------------------------------------------------------------------
# Whole seconds of flows that are kept beside the present one, and the flows named in each, of all threads: 61 x 4,096
# at 111 octets are 28 MB. The others of a second are known by their sum.
FLOWS_KEPT_S = 60
MAX_FLOWS_NAMED_PER_S = 4_096
# Questions about flows at once, one of which is answered while the others wait: each may make a group of each of the
# 245,760 flows, which takes 80 MB and a third of a second of one core.
MAX_FLOW_QUERIES = 2
# Groups told second by second, each a line in a picture that a person reads; of 60 numbers, so 1,200 in one answer.
MAX_FLOW_SERIES = 20
# Numbers, ranges or prefixes that one key of a filter may name: 32 at 43 characters are 1.4 KB of the request's line.
MAX_FLOW_FILTER_VALUES = 32

# --- filters -------------------------------------------------------------------------------------
# Characters of a filter and terms in it: 64 prefixes with their keys are 3,400, of 16 KiB of request headers.
MAX_FILTER_CHARS = 4_000
MAX_FILTER_TERMS = 64
# Characters of a glob or an expression, and expressions in a filter.
MAX_FILTER_VALUE_CHARS = 200
MAX_FILTER_EXPRESSIONS = 4
# What RE2 may use for one expression: enough for a class of Unicode's. The worst that fits takes 20 microseconds for
# each character of a value (usual ones 0.05), so 1,000 rows with names of 20 characters 0.4 s.
# Filters of lists that run at once, and for how long each: with every pattern at its dearest 65,536 detections would
# take half a minute. Two leave the health pages a processor; a value's result is kept, since groups repeat.
MAX_FILTERED_LISTS = 2
MAX_FILTER_S = 2.0
MAX_FILTER_VALUES_KEPT = 1_024
MAX_FILTER_EXPRESSION_BYTES = 32 * KIB

# --- recordings ----------------------------------------------------------------------------------
# Octets of one recorded packet: tcpdump's and Wireshark's own bound (MAXIMUM_SNAPLEN), four of the longest IP packets.
MAX_RECORDED_PACKET_BYTES = 256 * KIB
# A pcapng block with a packet or an interface: the packet, and as much again for its options.
MAX_PCAPNG_PACKET_BLOCK_BYTES = 2 * MAX_RECORDED_PACKET_BYTES
# Interfaces of one section, some 200 octets each here: our own recordings have one per switch.
MAX_PCAPNG_INTERFACES = 65_536
# Octets at a time of what is passed over.
RECORDING_SKIP_BYTES = 64 * KIB

# --- web -----------------------------------------------------------------------------------------
# The largest body a route reads is two addresses and a number of seconds, under 200 octets; twenty times that.
MAX_REQUEST_BODY_BYTES = 4 * KIB
# The server itself stops reading here, before a thread is involved; above the line before so that most get a JSON
# answer.
MAX_REQUEST_RECEIVED_BYTES = 64 * KIB
# Browsers send under 2 KiB to a loopback service, proxies add as much again.
MAX_REQUEST_HEADER_BYTES = 16 * KIB
# Identifiers are ours: the longest is two IPv6 addresses (2 x 39) and a separator, rounded up.
MAX_WEB_ID_CHARS = 128
# Rows of one list answer; a detection is about 1 KiB of JSON, so 1,000 rows are about 1 MiB.
MAX_LIST_ROWS = 1_000
DEFAULT_LIST_ROWS = 200
# Observers shown per detection: a large fabric has tens of hops, not hundreds; `observers_total` tells the rest.
MAX_OBSERVERS_SHOWN = 64
# Seconds one long poll may last: under the 60 s after which common proxies cut an idle connection.
MAX_LONG_POLL_S = 50.0
# Seconds after which a waiting long poll looks up: whether its client is gone, whether the server stops.
LONG_POLL_SLICE_S = 0.5
# Long polls waiting at once, each of which holds a thread; a console holds one per tab.
MAX_LONG_POLLS = 16
# Captures followed at once, each of which holds a thread; an analyst looks at one or two. What a slow reader has not
# taken is the server's 16 MiB at most, in a temporary file beyond the first.
MAX_PCAP_STREAMS = 8
# Octets read at a time, seconds between two looks for more, and seconds after which an idle stream says so: proxies
# commonly cut after 60, the one in deploy/ after 75.
PCAP_CHUNK_BYTES = 256 * KIB
PCAP_SLICE_S = 0.25
PCAP_IDLE_S = 20.0
# Threads that are left for everything else when all long polls wait.
WEB_WORKER_THREADS = 8
# Connections open at once, each at most MAX_REQUEST_RECEIVED_BYTES of memory: 128 x 64 KiB = 8 MiB.
MAX_WEB_CONNECTIONS = 128
# Seconds in which a request must have arrived whole, and after which an idle connection is closed.
REQUEST_ARRIVAL_S = 20.0
IDLE_CONNECTION_S = 60
# Seconds that answers under way may take when the server stops, and its threads after that.
WEB_STOP_GRACE_S = 3.0
# Seconds between log entries about bugs in routes: whoever may ask could ask for one again and again.
WEB_ERROR_LOG_INTERVAL_S = 10.0
# Events in one answer; a client that is behind asks again at once.
MAX_EVENTS_PER_POLL = 500
# The longest a capture may be asked for or extended by, in seconds: a week, past which nobody is looking.
MAX_CAPTURE_REQUEST_S = 7 * 24 * 3600
# A token file is written by hand: 256 lines of a name and a token, no longer than 64 and 512 characters.
MAX_TOKENS = 256
MAX_TOKEN_CHARS = 512
# Shorter ones can be guessed: 16 characters of base64 are 96 bits.
MIN_TOKEN_CHARS = 16
MAX_TOKEN_FILE_BYTES = 256 * KIB

# --- liveness --------------------------------------------------------------------------------------

# Seconds without a sign of life after which a thread counts as hanging. The longest healthy silence is a round of
# decisions that waits for the store (2 s busy time-out a statement, a few statements) on a machine that swaps.
STALLED_S = 30.0
# A job that keeps a promise is overdue when it is late by so many of its intervals or by so many seconds, whichever is
# less. The lease that is the default of ``capture.switch_lease``, 120 s, outlasts both many times.
OVERDUE_INTERVALS = 3
OVERDUE_S = 10.0

# --- report: event log and metrics ---------------------------------------------------------------
# Octets of one event's line: 64 observers at about 250 octets and 64 indicators at about 120 make 24 KiB; ten times
# that.
MAX_EVENT_BYTES = 256 * KIB
# Events kept in memory for the API; at about 2 KiB each 8 MiB.
EVENT_RING_EVENTS = 4_096
# The event log: 64 MiB and seven older files, 512 MiB in all.
EVENT_LOG_BYTES = 64 * MIB
EVENT_LOG_OLD_FILES = 7
# Series of one metric: a switch or feed name each, and a fabric has hundreds; Prometheus suffers from ten thousands.
MAX_METRIC_SERIES = 2_000
MAX_METRIC_LABEL_CHARS = 128

# --- capture -------------------------------------------------------------------------------------
# Live captures in all: ten times what 100 switches of 100 entries can hold; some 2 kB each, so 20 MB.
MAX_LIVE_CAPTURES = 10_000
# New captures in one minute over all agents: a fabric-wide outbreak, yet far from what forged samples could ask for.
MAX_NEW_CAPTURES_PER_MINUTE = 600
# Reasons kept for detections that are not captured, and pairs held back after their capture ended: ~200 B each.
MAX_REFUSALS_KEPT = 10_000
MAX_HELD_PAIRS = 10_000
# A person may extend a capture by a day at a time, so that a forgotten one ends.
MAX_EXTENSION_S = 86_400.0
# Changes in one bulk request: 540 octets of JSON each at the longest (two IPv6 lines) are 2.7 MB of the 4 MiB a shim
# takes, and 10,000 entries; what a larger table lacks comes in several.
MAX_BULK_CHANGES = 5_000
# One answer of a shim: 10,000 rules of three lines of 150 octets with counters is some 8 MB.
MAX_SWITCH_ANSWER_BYTES = 16 * MIB
# How long any single request to a shim may take in all; a commit of a full TCAM takes some seconds.
SWITCH_CONNECT_TIMEOUT_S = 3.0
SWITCH_ANSWER_TIMEOUT_S = 20.0
# Requests to switches under way at once: one per switch, so a slow one holds one of these.
SWITCH_WORKERS = 16
# Agents probed at once without standing in the inventory, so that forged agents cannot make us call around.
MAX_PROBED_AGENTS = 1_000
# Detections kept while such an agent is asked, some 1 KB each; a probe takes seconds, in which no more pairs matter.
MAX_DETECTIONS_PER_PROBE = 100

# --- blacklist -----------------------------------------------------------------------------------
# The largest list in common use (StopForumSpam, 180 days) is 3.5 MB; nine times that.
MAX_FEED_BYTES = 32 * MIB
# On the wire, before decompression: the same, as most servers send lists as they are.
MAX_FEED_WIRE_BYTES = MAX_FEED_BYTES
# One entry costs about 200 octets here: 200 MB is what one feed may take while it is read.
MAX_FEED_ENTRIES = 1_000_000
# Twice the entries: comments and blank lines. Splitting 32 MiB of line ends would cost 256 MiB of references.
MAX_FEED_LINES = 2 * MAX_FEED_ENTRIES
# The longest honest line is a comment of a few hundred characters.
MAX_FEED_LINE_CHARS = 4 * KIB
# Per download: enough to see what is wrong, and none of the rest.
MAX_FEED_LINE_ERRORS_KEPT = 20
MAX_FEED_REJECTS_KEPT = 100
MAX_FEED_LOCAL_LISTED_KEPT = 100
MAX_FEED_COMMENTS_KEPT = 100
MAX_FEED_EXCERPT_CHARS = 80
# emerging-Block-IPs.txt has 6 groups, Suricata's categories are one octet.
MAX_FEED_GROUPS = 1000
MAX_FEED_GROUP_CHARS = 80
# Wider prefixes are mistakes or sabotage: no list of hosts lists a 256th of the Internet, nor a v6 registry's whole
# block.
MIN_FEED_PREFIX_V4 = 8
MIN_FEED_PREFIX_V6 = 19
# A download replaces the last good one only when at most so many of its lines are unreadable (and one line never
# decides), and when it has at least half and (above a hundred lines, which a small list may well gain in a day) at most
# ten times as many entries.
MAX_FEED_UNREADABLE_SHARE = 0.05
MIN_FEED_SHARE_OF_LAST = 0.5
MAX_FEED_GROWTH = 10
FEED_GROWTH_CHECKED_FROM = 100
# A JSON document costs up to 20 octets of memory per character ("[{},{},…"): 160 MB. Lists of a line per object are
# not meant.
MAX_FEED_JSON_CHARS = 8 * MIB
# A STIX pattern of a hundred addresses.
MAX_FEED_PATTERN_CHARS = 8 * KIB
# A TOML file of twenty keys.
MAX_FEED_DESCRIPTOR_BYTES = 64 * KIB
# Seconds. 32 MiB at 4 Mbit/s take 64; a server that trickles is cut off.
FEED_CONNECT_TIMEOUT_S = 10.0
FEED_READ_TIMEOUT_S = 20.0
FEED_TOTAL_TIMEOUT_S = 120.0
MAX_FEED_REDIRECTS = 5
# Headers of a descriptor: a key or two and what the server wants to hear; their values are at most a long token.
MAX_FEED_HEADERS = 16
MAX_FEED_HEADER_CHARS = 4 * KIB
# A file with one token, one header or one certificate with its chain.
MAX_FEED_SECRET_BYTES = 64 * KIB
# Files in a zip archive, of which one is wanted, and gzip streams one after another (pigz makes one of each 128 KiB).
MAX_FEED_ARCHIVE_MEMBERS = 1_000
# FWrev is a number of four digits; some servers add text.
MAX_FEED_REVISION_BYTES = 1 * KIB
# Our own JSON beside a cached list is under 2 KiB.
MAX_FEED_SIDECAR_BYTES = 64 * KIB
# Our own record of since when what is listed: MAX_FEED_ENTRIES at 44 octets of prefix, unpacked.
MAX_FEED_SINCE_BYTES = 64 * MIB
# Indicators of a refresh named in its event, per added, removed and changed, at 1 KiB each when every character of the
# group is written as an escape: 150 KiB of the event's 256. Whoever needs all is handed them.
MAX_FEED_EVENT_INDICATORS = 50
# Feeds named as overlapping with one feed.
MAX_FEED_OVERLAPS_SHOWN = 10
# A server may ask us to stay away for long, but not for ever.
MAX_FEED_RETRY_AFTER_S = 7 * 86_400.0
# After so long without a full download validators and revisions are no longer believed: an ETag may lie.
MAX_FEED_AGE_WITHOUT_BODY_S = 7 * 86_400.0

# --- erspan --------------------------------------------------------------------------------------
# Octets: an Ethernet header (6 + 6 + 2); less is no frame.
MIN_MIRRORED_FRAME_BYTES = 14
# Each is at least 8 octets; RFC 8200 section 4.1 names six kinds, of which one may stand twice; twice that.
MAX_OUTER_EXTENSION_HEADERS = 14
# Octets behind the shortest IPv4 header of the longest packet: 65,535 - 20.
MAX_IP_PAYLOAD_BYTES = 65_515
# Pieces of one packet: 65,515 octets over the 552 of IPv4's 576-octet minimum are 119.
MAX_FRAGMENTS_PER_PACKET = 128
# Packets and octets waiting for pieces. At 5,000 packets/s with pieces a millisecond apart a handful waits; the rest is
# room for loss: 4 MiB are 2,700 full-sized pieces.
MAX_FRAGMENTED_PACKETS = 1_024
MAX_FRAGMENT_BYTES = 4 * MIB
# Seconds a piece waits for the others, as Linux has it (net.ipv4.ipfrag_time).
FRAGMENT_AGE_S = 30.0
# pcapng counts an option's octets in 16 bits.
MAX_PCAPNG_OPTION_BYTES = 0xFFFF
# A comment is read by a person: two pages.
MAX_COMMENT_BYTES = 4 * KIB
# Sequence counters kept to see gaps: a session of each of 1,000 switches.
MAX_ERSPAN_SEQUENCES = 1_000
# A jump of the sequence number by more is a switch that started again, not frames lost: 20 s at 50,000 frames/s.
MAX_SEQUENCE_GAP = 1_000_000
# Octets of one file of a capture before the next is begun: Wireshark opens this in seconds.
MAX_CAPTURE_FILE_BYTES = 256 * MIB
# A raw socket hands over whole IP packets.
MAX_ERSPAN_DATAGRAM_BYTES = 65_535
# Packets received at a time: at 562 octets 144 KB, some 0.1 ms of work; the longest take 16 MiB.
ERSPAN_BATCH_PACKETS = 256
# Seconds to wait for more where several, but less than a batch, came at a time: at 200,000 a second 200 come meanwhile.
ERSPAN_LINGER_S = 0.001
# Addresses whose text is kept, some 150 octets each: the hosts of all captures, and forged ones only drive out others.
ADDRESS_TEXTS_KEPT = 4_096
# Files of captures in all, the oldest of ended ones going first: one each for the ended captures that are remembered.
MAX_CAPTURE_FILES = 10_000
# Files open for writing at once, each with a buffer: 256 x 128 KiB = 32 MiB, and a quarter of the usual 1,024
# descriptors.
MAX_OPEN_CAPTURE_FILES = 256
CAPTURE_FILE_BUFFER_BYTES = 128 * KIB
# Captures whose figures of received packets are kept, 300 octets each: all live ones and the latest ended.
MAX_RECEIVED_KEPT = 12_000
# Seconds within which an equal packet from another switch is the same one: paths and switches differ by milliseconds,
# a receiver that lags by less than that.
DUPLICATE_WINDOW_S = 1.0
# Packets remembered for that: a second at 50,000 packets/s, some 500 octets each, so 25 MB.
MAX_DUPLICATE_PACKETS = 50_000
# Equal packets of one switch told apart by their order within the window, beyond which they are not compared.
MAX_EQUAL_PACKETS = 1_000
# A line in Wireshark's list of interfaces; wider ones are cut there.
MAX_EXTCAP_TEXT_CHARS = 256
# A client's settings and token file, three keys and a line: a thousand times that.
MAX_CLIENT_FILE_BYTES = 64 * KIB
# Octets of a packet, from its IP header on, that are compared: headers with their checksum, which covers the rest.
DUPLICATE_PREFIX_BYTES = 128

# --- detect --------------------------------------------------------------------------------------
# Open detections in all: 1.8 kB each with one observer, so 120 MB. Pairs seen once are most of them.
MAX_OPEN_DETECTIONS = 65_536
# One agent's share, charged to the agent that opened the detection: a forger who speaks as one agent takes an eighth.
MAX_OPEN_DETECTIONS_PER_AGENT = MAX_OPEN_DETECTIONS // 8
# Observer rows (agent, data source) of one detection; a pair crosses a handful of switches on one or two ports each.
MAX_OBSERVERS_PER_DETECTION = 64
# One agent's rows of one detection: an ECMP group or LAG of 16 ports; four lying agents are needed to fill the table.
MAX_OBSERVERS_PER_AGENT = 16
# Observer rows of all open detections: 0.5 kB each, so 130 MB; four for each detection.
MAX_OBSERVERS = 4 * MAX_OPEN_DETECTIONS
# One agent's rows in all detections, likewise four for each detection of its share.
MAX_OBSERVERS_OF_ONE_AGENT = 4 * MAX_OPEN_DETECTIONS_PER_AGENT
# Detections that one agent may announce per kind of evidence: this many at once, then so many a second, which is
# 3 x (512 + 3,600 x 4) = 45,000 lines an hour in the worst case; further ones wait in the table.
ANNOUNCE_BURST = 512
ANNOUNCE_PER_S = 4.0
# Sums of packets and bytes stop here, at what a signed 64-bit column holds: one sample may claim 2^32 x 2^32.
MAX_FIGURE = 2**63 - 1
# VLAN tags of a recorded outer frame: two are QinQ; twice that.
MAX_OUTER_VLAN_TAGS = 4
# Matches waiting for the decision thread: some ten seconds of a forged flood; ~600 B each, so 60 MB at most.
MAX_WAITING_MATCHES = 100_000
# Pages of 4 KiB that the store's log may grow to when nobody brings it to the disk: 64 MiB, some 2,000 changes.
STORE_LOG_PAGES = 16_384
# Ended captures kept for people and for holding pairs back, by count and age.
MAX_ENDED_CAPTURES = 10_000
ENDED_CAPTURES_KEPT_S = 30 * 86_400.0
# Ended captures whose late frames are told from those of new ones; a frame is late by seconds, not by a thousand
# captures.
MAX_ENDED_CAPTURES_REMEMBERED = 1_000
# Characters of a log message, or of an exception's message in a traceback; the longest of our own is some 1,000.
MAX_LOG_MESSAGE_CHARS = 4_096
# Exceptions of one chain of causes that are logged; ours have three at most.
MAX_LOGGED_CAUSES = 8
# A file of ours that was deleted under the daemon is shown for so long after it was made anew, for people to see.
FILE_GONE_SHOWN_S = 600.0
