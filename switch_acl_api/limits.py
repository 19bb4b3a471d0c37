# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""Every bound on what the outside may make the shim hold or do: value, unit, arithmetic, reason."""

KIB = 1024
MIB = 1024 * KIB

# --- rules ---------------------------------------------------------------------------------------
MAX_NAME_CHARS = 64
# The longest legal rule (two IPv6 hosts, a 15 character port, both ERSPAN addresses, a ttl) has about 210 characters.
MAX_LINE_CHARS = 300
# A mirror of one pair has three lines; a hand-written file may well hold a hundred.
MAX_LINES = 256
# MAX_LINES * MAX_LINE_CHARS = 77 kB of text; the rest is JSON's quotes and escapes.
MAX_ACL_BODY_BYTES = 128 * KIB
# 15,000 rules of 120 characters (the largest TCAM profile) are 1.8 MB.
MAX_BULK_BODY_BYTES = 4 * MIB
MAX_BULK_NAMES = 10_000
# Mirror sessions of the oldest supported hardware; a third distinct pair makes cl-acltool fail.
MAX_ERSPAN_PAIRS = 2
# A policy file of ours: header line and the lines. Anything longer was not written by us.
MAX_POLICY_FILE_BYTES = 4 * KIB + MAX_LINES * (MAX_LINE_CHARS + 1)
MAX_OWNER_CHARS = 64
MAX_TOKEN_FILE_BYTES = 64 * KIB
MAX_CONFIG_BYTES = 256 * KIB
# Names in one leases file (150 octets each); also the most files of ours that one folder may hold.
MAX_STATE_FILE_BYTES = 4 * MIB
# A deadline further away than this was not written by us (the longest max_ttl that can be configured).
MAX_LEASE_S = 366 * 86_400.0
# JSON numbers longer than this are refused before Python spends quadratic time on them.
MAX_JSON_NUMBER_CHARS = 20

# --- connections ---------------------------------------------------------------------------------
# Threads: 64 x 8 MiB of (mostly untouched) stack address space.
MAX_CONNECTIONS = 64
# Descriptors that connections leave to what removes rules: the lock, listings, and pipes to the tools.
RESERVED_DESCRIPTORS = 40
# Requests that wait for a commit; the other half of the threads stays free for reading and health.
MAX_WAITING_REQUESTS = 32
LISTEN_BACKLOG = 128
# From accept (or from the end of the last answer) to the last octet of the request, TLS handshake included.
REQUEST_DEADLINE_S = 15.0
RESPONSE_DEADLINE_S = 15.0
# After an answer that was given before the whole body had come: so long, and so often, the rest is read and dropped.
LINGER_S = 3.0
MAX_LINGER_READS = 1024
MAX_LINGER_BYTES = 64 * MIB
MAX_REQUEST_LINE_BYTES = 8 * KIB
# Request line and headers together, as the daemon's console has it: 64 connections hold 1 MiB.
MAX_HEAD_BYTES = 16 * KIB
MAX_HEADERS = 100
# A bulk body: a line of each rule, and per name JSON around it and a few comments; never below the first.
LEAST_BULK_BODY_BYTES = 256 * KIB
BULK_BYTES_PER_NAME = 512
# Parsed, a body takes 25 times its octets at worst ("[],[],…"), so bodies of this many owners are held at a time ...
BODIES_AT_A_TIME = 2
# ... and the next one waits so long for its turn.
BODY_TURN_WAIT_S = 5.0
# How often expired deadlines are looked for; the error of every connection deadline.
REAP_INTERVAL_S = 0.25

# Refused credentials: so many of one address are answered at once, then one each so many seconds; others after a pause.
FREE_FAILURES = 10
FREE_FAILURES_PER_S = 0.2
FAILED_PAUSE_S = 1.0
LOGGED_FAILURES_PER_S = 0.1
# Owners, or addresses, whose rate is known at one time: 150 octets each.
MAX_RATE_BUCKETS = 1024

# --- commits -------------------------------------------------------------------------------------
# Commits spent on finding which changes of a failed batch are to blame; the rest are told to come again.
MAX_BLAME_COMMITS = 40
# Changes waiting at one time: two full bulk replacements.
MAX_QUEUED_CHANGES = 2 * MAX_BULK_NAMES
# A request never waits longer than this for its commit (three commits at the longest default timeout).
MAX_REQUEST_WAIT_S = 240.0
# The commit tool: what is kept of its output, and what is read of a listing (15,000 rules of 200 characters).
MAX_TOOL_OUTPUT_BYTES = 64 * KIB
MAX_LISTING_BYTES = 8 * MIB
MAX_OUTPUT_LINES = 60
MAX_OUTPUT_LINE_CHARS = 400
# The listing of `ip` for one route, one neighbour or all addresses.
MAX_IP_OUTPUT_BYTES = 1 * MIB
IP_TOOL_TIMEOUT_S = 5.0
# Between two looks at the ERSPAN destination; ARP entries live a minute or more.
REACH_INTERVAL_S = 20.0
# Requests right after the start wait so long for the first look at what the switch has.
FIRST_LOOK_WAIT_S = 10.0
# Between two looks at whether the switch still has what we installed.
VERIFY_INTERVAL_S = 30.0
# After a failed commit that left something undone: first pause and longest pause.
RETRY_FIRST_S = 0.5
# A rule is gone 30 s after its removal became possible, at the latest: this and one run of the tool.
RETRY_LONGEST_S = 20.0
# ERSPAN rules that are read from one file of somebody else's: twice the largest TCAM profile.
MAX_FOREIGN_RULES = 30_000
# Between two attempts to delete a file that could not be deleted.
STUCK_RETRY_S = 5.0
# A rule that stands so long after the end of its lease is a problem, whatever the reason.
OVERDUE_S = 10.0
# How old counters may be; also how often the tool is asked at most.
COUNTER_AGE_S = 1.0
# The expire process waits this long for the daemon's commit; its timer comes again anyway.
EXPIRE_LOCK_WAIT_S = 25.0
# The daemon waits this long for the expire process, which commits once.
DAEMON_LOCK_WAIT_S = 120.0
# A tool that outlives its shim has this long to end: commit_timeout's default, and the seconds until it is killed.
LOCK_OF_THE_DEAD_S = 66.0

# --- emulated data plane -------------------------------------------------------------------------
# One UDP datagram over IPv4: 65,535 - 20 (IP) - 8 (UDP).
MAX_FRAME_DATAGRAM_BYTES = 65_507
MAX_VLAN_TAGS = 4
# Distinct --src-ip sockets kept open: MAX_ERSPAN_PAIRS at a time, some history while rules change.
MAX_ERSPAN_SOCKETS = 8

# --- linux data plane ----------------------------------------------------------------------------
# The kernel's own deadline is this much later than the lease: in good health the shim removes the rule, and says so.
LINUX_LEASE_GRACE_S = 1.0
# A timeout that is off by no more than this is left alone: nft lists whole seconds.
LINUX_LEASE_SLACK_S = 1.0
# ERSPAN sessions have 10 bits, and 0 means none.
MAX_ERSPAN_SESSION = 1023
# One run of nft: a transaction of 15,000 elements takes well under a second.
NFT_TIMEOUT_S = 15.0
# A table of 15,000 elements, 300 octets of JSON each, twice.
MAX_NFT_LISTING_BYTES = 16 * MIB
# A transaction is tried so often: an element may expire, or another hand may change the table, between look and change.
MAX_NFT_TRIES = 3
# Between two looks at ports and encapsulators.
LINUX_WATCH_INTERVAL_S = 0.5
# A loss of mirrored frames is shown as a problem for so long.
LINUX_LOSS_SHOWN_S = 60.0
# Frames of up to this many octets pass the veth pair whole; the longest jumbo frames have 9,216.
MIRROR_MTU_BYTES = 9_216
# An encapsulator that has not said within this time that it reads its device is a failed one.
ENCAPSULATOR_START_S = 5.0
# What the encapsulator is asked, and what it answers: one short line of JSON each.
MAX_CONTROL_BYTES = 1 * KIB
CONTROL_TIMEOUT_S = 0.5
# The asker is patient: on a busy machine a batch of frames comes first, and who does not answer is replaced.
CONTROL_WAIT_S = 3.0
# Kernel buffer before the encapsulator: 16 MiB hold some 20,000 full frames, 0.3 s at 60,000/s.
MIRROR_BUFFER_BYTES = 16 * MIB
# Frames taken before the control socket is looked at again: about 5 ms of work.
MIRROR_BATCH_FRAMES = 512
# The largest datagram a packet socket can hand over.
MAX_MIRRORED_BYTES = 65_536
# A full send buffer stops the encapsulator for so long, then the frame is counted as lost.
MIRROR_SEND_TIMEOUT_S = 0.1

# --- Open vSwitch --------------------------------------------------------------------------------
# OpenFlow's hard_timeout has 16 bits; a longer lease is prolonged by the shim before half of that is over.
MAX_HARD_TIMEOUT_S = 65_535
# One question to ovsdb-server or ovs-vswitchd; the tools answer in 20 ms where both are well.
OVS_TOOL_TIMEOUT_S = 5.0
# 15,000 flows of 500 characters are 7.5 MB.
MAX_FLOWS_BYTES = 16 * MIB
# The ports of one bridge: 10,000 of 250 characters.
MAX_OVS_OUTPUT_BYTES = 4 * MIB
# A frame with 1,500 octets of IP and a VLAN tag (18 + 1,500), behind IP (20), GRE (8) and ERSPAN type III (12).
OVS_ERSPAN_MTU = 1_558
