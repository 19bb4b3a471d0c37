# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts of flow records (flow_data), by enterprise and format.

Sources: sflow.org sflow_version_5, sflow_80211, sflow_host, sflow_http, sflow_application, sflow_memcache,
sflow_tunnels, sflow_pnat, sflow_drops, sflow_transit, draft_sflow_infiniband_2, bv-sflow, and
host-sflow's sflow.h for what it added. Names are theirs in snake case; ``name`` and ``tag`` are the record's own, so an
ACL's name is ``acl_name``.
"""

from sentinel.sflow.xdr import (
    ADDRESS,
    IPV4,
    IPV6,
    MAC,
    OCTETS16,
    OPAQUE,
    STRING,
    U32,
    U64,
    Fields,
    Kind,
    array,
    struct,
)


def _u32(names: str) -> Fields:
    return tuple((name, U32) for name in names.split())


_STACK = array(U32)
_AS_PATH = array(struct(("type", U32), ("path", array(U32))))
_ETHERNET: Fields = (("length", U32), ("src_mac", MAC), ("dst_mac", MAC), ("type", U32))


def _ip(kind: Kind, last: str) -> Fields:
    return (
        *_u32("length protocol"),
        ("src_ip", kind),
        ("dst_ip", kind),
        *_u32("src_port dst_port tcp_flags"),
        (last, U32),
    )


def _socket(kind: Kind) -> Fields:
    return (("protocol", U32), ("local_ip", kind), ("remote_ip", kind), *_u32("local_port remote_port"))


_IPV4 = _ip(IPV4, "tos")
_IPV6 = _ip(IPV6, "priority")
_CONTEXT = struct(("application", STRING), ("operation", STRING), ("attributes", STRING))


def _http(*, with_version: bool) -> Fields:
    return (
        ("method", U32),
        *((("protocol", U32),) if with_version else ()),
        *((name, STRING) for name in ("uri", "host", "referer", "useragent", "xff", "authuser", "mime_type")),
        ("req_bytes", U64),
        ("resp_bytes", U64),
        *_u32("us status"),
    )


FLOW_RECORDS: dict[tuple[int, int], tuple[str, Fields]] = {
    (0, 1): ("sampled_header", (*_u32("protocol frame_length stripped"), ("header", OPAQUE))),
    (0, 2): ("sampled_ethernet", _ETHERNET),
    (0, 3): ("sampled_ipv4", _IPV4),
    (0, 4): ("sampled_ipv6", _IPV6),
    (0, 1001): ("extended_switch", _u32("src_vlan src_priority dst_vlan dst_priority")),
    (0, 1002): ("extended_router", (("nexthop", ADDRESS), *_u32("src_mask_len dst_mask_len"))),
    (0, 1003): (
        "extended_gateway",
        (
            ("nexthop", ADDRESS),
            *_u32("as src_as src_peer_as"),
            ("dst_as_path", _AS_PATH),
            ("communities", array(U32)),
            ("localpref", U32),
        ),
    ),
    (0, 1004): (
        "extended_user",
        (("src_charset", U32), ("src_user", STRING), ("dst_charset", U32), ("dst_user", STRING)),
    ),
    (0, 1005): ("extended_url", (("direction", U32), ("url", STRING), ("host", STRING))),
    (0, 1006): ("extended_mpls", (("nexthop", ADDRESS), ("in_stack", _STACK), ("out_stack", _STACK))),
    (0, 1007): ("extended_nat", (("src_address", ADDRESS), ("dst_address", ADDRESS))),
    (0, 1008): ("extended_mpls_tunnel", (("tunnel_lsp_name", STRING), *_u32("tunnel_id tunnel_cos"))),
    (0, 1009): ("extended_mpls_vc", (("vc_instance_name", STRING), *_u32("vll_vc_id vc_label_cos"))),
    (0, 1010): ("extended_mpls_ftn", (("mpls_ftn_descr", STRING), ("mpls_ftn_mask", U32))),
    (0, 1011): ("extended_mpls_ldp_fec", _u32("mpls_fec_addr_prefix_length")),
    (0, 1012): ("extended_vlantunnel", (("stack", _STACK),)),
    (0, 1013): ("extended_80211_payload", (("ciphersuite", U32), ("data", OPAQUE))),
    (0, 1014): (
        "extended_80211_rx",
        (
            ("ssid", STRING),
            ("bssid", MAC),
            *_u32("version channel"),
            ("speed", U64),
            *_u32("rsni rcpi packet_duration"),
        ),
    ),
    (0, 1015): (
        "extended_80211_tx",
        (
            ("ssid", STRING),
            ("bssid", MAC),
            *_u32("version transmissions packet_duration retrans_duration channel"),
            ("speed", U64),
            ("power", U32),
        ),
    ),
    (0, 1017): ("extended_openflow_v1", (("flow_cookie", U64), *_u32("flow_match flow_actions"))),
    (0, 1018): ("extended_fc", _u32("src_mask_len dst_mask_len next_hop metric")),
    (0, 1019): ("extended_queue_length", _u32("queue_index queue_length")),
    (0, 1020): ("extended_nat_port", _u32("src_port dst_port")),
    (0, 1021): ("extended_l2_tunnel_egress", _ETHERNET),
    (0, 1022): ("extended_l2_tunnel_ingress", _ETHERNET),
    (0, 1023): ("extended_ipv4_tunnel_egress", _IPV4),
    (0, 1024): ("extended_ipv4_tunnel_ingress", _IPV4),
    (0, 1025): ("extended_ipv6_tunnel_egress", _IPV6),
    (0, 1026): ("extended_ipv6_tunnel_ingress", _IPV6),
    (0, 1027): ("extended_decapsulate_egress", _u32("inner_header_offset")),
    (0, 1028): ("extended_decapsulate_ingress", _u32("inner_header_offset")),
    (0, 1029): ("extended_vni_egress", _u32("vni")),
    (0, 1030): ("extended_vni_ingress", _u32("vni")),
    (0, 1031): (
        "extended_ib_lrh",
        _u32("src_vl src_sl src_dlid src_slid src_lnh dst_vl dst_sl dst_dlid dst_slid dst_lnh"),
    ),
    (0, 1032): (
        "extended_ib_grh",
        (*_u32("flow_label tc"), ("s_gid", OCTETS16), ("d_gid", OCTETS16), *_u32("next_header length")),
    ),
    (0, 1033): ("extended_ib_bth", _u32("pkey dst_qp opcode")),
    (0, 1034): ("extended_vlanin", (("stack", _STACK),)),
    (0, 1035): ("extended_vlanout", (("stack", _STACK),)),
    (0, 1036): ("extended_egress_queue", _u32("queue")),
    (0, 1037): ("extended_acl", (("number", U32), ("acl_name", STRING), ("direction", U32))),
    (0, 1038): ("extended_function", (("symbol", STRING),)),
    (0, 1039): ("extended_transit", _u32("delay")),
    (0, 1040): ("extended_queue", _u32("depth")),
    (0, 1041): ("extended_hw_trap", (("group", STRING), ("trap", STRING))),
    (0, 1042): ("extended_linux_drop_reason", (("reason", STRING),)),
    (0, 1043): ("extended_timestamp", (("nanoseconds", U64),)),
    (0, 2000): (
        "transaction",
        (*_u32("direction wait duration status"), ("bytes_received", U64), ("bytes_send", U64)),
    ),
    (0, 2001): ("extended_nfs_storage_transaction", (("path", STRING), *_u32("operation status"))),
    (0, 2002): ("extended_scsi_storage_transaction", _u32("lun operation status")),
    (0, 2003): (
        "extended_http_transaction",
        (*((name, STRING) for name in ("url", "host", "referer", "useragent", "user")), ("status", U32)),
    ),
    (0, 2100): ("extended_socket_ipv4", _socket(IPV4)),
    (0, 2101): ("extended_socket_ipv6", _socket(IPV6)),
    (0, 2102): ("extended_proxy_socket_ipv4", _socket(IPV4)),
    (0, 2103): ("extended_proxy_socket_ipv6", _socket(IPV6)),
    (0, 2200): (
        "memcache_operation",
        (*_u32("protocol cmd"), ("key", STRING), *_u32("nkeys value_bytes us status")),
    ),
    (0, 2201): ("http_request", _http(with_version=False)),
    (0, 2202): (
        "app_operation",
        (("context", _CONTEXT), ("status_descr", STRING), ("req_bytes", U64), ("resp_bytes", U64), *_u32("us status")),
    ),
    (0, 2203): ("app_parent_context", (("context", _CONTEXT),)),
    (0, 2204): ("app_initiator", (("actor", STRING),)),
    (0, 2205): ("app_target", (("actor", STRING),)),
    (0, 2206): ("http_request", _http(with_version=True)),
    (0, 2207): ("extended_proxy_request", (("uri", STRING), ("host", STRING))),
    (0, 2208): (
        "extended_nav_timing",
        _u32(
            "type redirect_count navigation_start unload_event_start unload_event_end redirect_start redirect_end"
            " fetch_start domain_lookup_start domain_lookup_end connect_start connect_end secure_connection_start"
            " request_start response_start response_end dom_loading dom_interactive dom_content_loaded_event_start"
            " dom_content_loaded_event_end dom_complete load_event_start load_event_end"
        ),
    ),
    (0, 2209): (
        "extended_tcp_info",
        _u32("dir snd_mss rcv_mss unacked lost retrans pmtu rtt rttvar snd_cwnd reordering min_rtt"),
    ),
    (0, 2210): ("extended_entities", _u32("src_ds_class src_ds_index dst_ds_class dst_ds_index")),
    (4413, 1): ("extended_bst_egress_queue", _u32("queue")),
}
