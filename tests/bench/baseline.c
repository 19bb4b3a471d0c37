/* SPDX-FileCopyrightText: the Sentinel authors
 * SPDX-License-Identifier: Apache-2.0
 *
 * The yardsticks: the least that any program would have to do. `minimal_scan` walks well-formed datagrams of IPv4
 * samples, asks a bitmap and a sorted array for both addresses and counts flows; it checks nothing and decodes nothing
 * else. `bare_receive` receives with recvmmsg and throws away.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SLOTS 65536
#define BATCH 256

static uint32_t be32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return ntohl(value);
}

struct flow {
    uint32_t src, dst, ports, input, output, used;
    uint64_t packets, bytes;
};

struct lists {
    const uint8_t *bitmap;
    const uint32_t *starts;
    uint32_t count;
    const uint32_t *index;
};

static int listed(const struct lists *lists, uint32_t address) {
    if (!(lists->bitmap[address >> 11] >> (address >> 8 & 7) & 1))
        return 0;
    uint32_t first = lists->index[address >> 16], behind = lists->index[(address >> 16) + 1];
    while (first < behind) {
        uint32_t middle = first + (behind - first) / 2;
        if (lists->starts[middle] < address)
            first = middle + 1;
        else
            behind = middle;
    }
    return first < lists->count && lists->starts[first] == address;
}

/* Datagrams stand one behind the other in `data`, `sizes` octets each; IPv4 agents, samples of format 1 with one header
 * record. The number of hits. */
uint64_t minimal_scan(const uint8_t *data, const uint32_t *sizes, uint32_t n, const struct lists *lists,
                      struct flow *flows) {
    uint64_t hits = 0;
    uint32_t rows = 0;
    for (uint32_t i = 0; i < n; data += sizes[i++]) {
        uint32_t samples = be32(data + 24);
        const uint8_t *at = data + 28;
        while (samples--) {
            const uint8_t *header = at + 8 + 32 + 8 + 16;
            if (header[12] == 8 && header[13] == 0) {
                uint32_t src = be32(header + 26), dst = be32(header + 30), ports = be32(header + 34);
                uint32_t input = be32(at + 28), output = be32(at + 32);
                hits += listed(lists, src) + listed(lists, dst);
                uint64_t key = (((uint64_t)src << 32 | dst) ^ (uint64_t)ports * 0x9E3779B97F4A7C15u) *
                               0xBF58476D1CE4E5B9u;
                uint32_t slot = key >> 48;
                while (flows[slot].used && (flows[slot].src != src || flows[slot].dst != dst ||
                                            flows[slot].ports != ports || flows[slot].input != input))
                    slot = (slot + 1) % SLOTS;
                if (!flows[slot].used) {
                    if (++rows > SLOTS / 2) {
                        memset(flows, 0, sizeof(struct flow) * SLOTS);
                        rows = 1;
                    }
                    flows[slot] = (struct flow){src, dst, ports, input, output, 1, 0, 0};
                }
                flows[slot].packets += be32(at + 16);
                flows[slot].bytes += (uint64_t)be32(at + 16) * be32(at + 8 + 32 + 8 + 4);
            }
            at += 8 + be32(at + 4);
        }
    }
    return hits;
}

/* Receive until `*stop`; `*received` counts the datagrams. */
void bare_receive(int fd, volatile int *stop, volatile uint64_t *received) {
    static _Thread_local uint8_t room[BATCH][2048];
    struct iovec pieces[BATCH];
    struct mmsghdr messages[BATCH];
    for (int i = 0; i < BATCH; i++) {
        pieces[i] = (struct iovec){room[i], sizeof room[i]};
        memset(&messages[i], 0, sizeof messages[i]);
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    while (!*stop) {
        int n = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
        if (n < 0) {
            struct pollfd ready = {fd, POLLIN, 0};
            poll(&ready, 1, 50);
            continue;
        }
        *received += n;
    }
}

/* Send `n` datagrams in turn, `burst` at a time, `rate` a second (0: as fast as it goes), for `seconds`; how many. The
 * number of each is written into it at each of the `n_places` offsets, so that no two are equal. */
uint64_t send_numbered(int fd, uint8_t *data, const uint32_t *sizes, uint32_t n, double rate, double seconds,
                       uint32_t burst, const uint32_t *places, uint32_t n_places) {
    struct iovec *pieces = calloc(n, sizeof *pieces);
    struct mmsghdr *messages = calloc(n, sizeof *messages);
    struct timespec begun, now;
    uint64_t sent = 0;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; data += sizes[i++]) {
        pieces[i] = (struct iovec){(void *)data, sizes[i]};
        messages[i].msg_hdr.msg_iov = &pieces[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (;;) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        double passed = (now.tv_sec - begun.tv_sec) + (now.tv_nsec - begun.tv_nsec) * 1e-9;
        if (passed >= seconds)
            break;
        if (rate > 0 && sent > rate * passed) {
            double ahead = (sent - rate * passed) / rate;
            struct timespec rest = {0, (long)(ahead * 1e9)};
            nanosleep(&rest, NULL);
            continue;
        }
        uint32_t some = burst < n - at ? burst : n - at;
        for (uint32_t i = 0; n_places && i < some; i++) {
            uint32_t number = htonl(sent + i);
            for (uint32_t place = 0; place < n_places; place++)
                memcpy((uint8_t *)pieces[at + i].iov_base + places[place], &number, sizeof number);
        }
        int done = sendmmsg(fd, messages + at, some, 0);
        if (done > 0) {
            sent += done;
            at = (at + done) % n;
        }
    }
    free(pieces);
    free(messages);
    return sent;
}

uint64_t send_rate(int fd, const uint8_t *data, const uint32_t *sizes, uint32_t n, double rate, double seconds,
                   uint32_t burst) {
    return send_numbered(fd, (uint8_t *)data, sizes, n, rate, seconds, burst, NULL, 0);
}
