# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The layouts of counter records (counter_data), by enterprise and format.

Sources: sflow.org sflow_version_5, sflow_80211, sflow_lag, sflow_optics, sflow_openflow, sflow_host, sflow_jvm,
sflow_http, sflow_application, sflow_memcache, sflow_nvml, bv-sflow, and the sFlow list for the rest.
Names are theirs in snake case. A counter that the agent doesn't know is all ones (4294967295 or 18446744073709551615)
and is handed on as that number, as it came. Unsigned counters wrap; nothing is made of them here.
"""

from sentinel.sflow.xdr import F32, I32, MAC, OCTETS4, STRING, U32, U64, UUID16, Fields, array, struct


def _u32(names: str) -> Fields:
    return tuple((name, U32) for name in names.split())


def _u64(names: str) -> Fields:
    return tuple((name, U64) for name in names.split())


_NET_IO: Fields = (
    ("bytes_in", U64),
    *_u32("pkts_in errs_in drops_in"),
    ("bytes_out", U64),
    *_u32("packets_out errs_out drops_out"),
)
_LANE = struct(
    *_u32(
        "index tx_bias_current tx_power tx_power_min tx_power_max tx_wavelength"
        " rx_power rx_power_min rx_power_max rx_wavelength"
    )
)

COUNTER_RECORDS: dict[tuple[int, int], tuple[str, Fields]] = {
    (0, 1): (
        "if_counters",
        (
            *_u32("if_index if_type"),
            ("if_speed", U64),
            *_u32("if_direction if_status"),
            ("if_in_octets", U64),
            *_u32("if_in_ucast_pkts if_in_multicast_pkts if_in_broadcast_pkts if_in_discards if_in_errors"),
            ("if_in_unknown_protos", U32),
            ("if_out_octets", U64),
            *_u32("if_out_ucast_pkts if_out_multicast_pkts if_out_broadcast_pkts if_out_discards if_out_errors"),
            ("if_promiscuous_mode", U32),
        ),
    ),
    (0, 2): (
        "ethernet_counters",
        _u32(
            "dot3_stats_alignment_errors dot3_stats_fcs_errors dot3_stats_single_collision_frames"
            " dot3_stats_multiple_collision_frames dot3_stats_sqe_test_errors dot3_stats_deferred_transmissions"
            " dot3_stats_late_collisions dot3_stats_excessive_collisions dot3_stats_internal_mac_transmit_errors"
            " dot3_stats_carrier_sense_errors dot3_stats_frame_too_longs dot3_stats_internal_mac_receive_errors"
            " dot3_stats_symbol_errors"
        ),
    ),
    (0, 3): (
        "tokenring_counters",
        _u32(
            "dot5_stats_line_errors dot5_stats_burst_errors dot5_stats_ac_errors dot5_stats_abort_trans_errors"
            " dot5_stats_internal_errors dot5_stats_lost_frame_errors dot5_stats_receive_congestions"
            " dot5_stats_frame_copied_errors dot5_stats_token_errors dot5_stats_soft_errors dot5_stats_hard_errors"
            " dot5_stats_signal_loss dot5_stats_transmit_beacons dot5_stats_recoverys dot5_stats_lobe_wires"
            " dot5_stats_removes dot5_stats_singles dot5_stats_freq_errors"
        ),
    ),
    (0, 4): (
        "vg_counters",
        (
            ("dot12_in_high_priority_frames", U32),
            ("dot12_in_high_priority_octets", U64),
            ("dot12_in_norm_priority_frames", U32),
            ("dot12_in_norm_priority_octets", U64),
            *_u32("dot12_in_ipm_errors dot12_in_oversize_frame_errors dot12_in_data_errors"),
            *_u32("dot12_in_null_addressed_frames dot12_out_high_priority_frames"),
            ("dot12_out_high_priority_octets", U64),
            ("dot12_transition_into_trainings", U32),
            *_u64(
                "dot12_hc_in_high_priority_octets dot12_hc_in_norm_priority_octets dot12_hc_out_high_priority_octets"
            ),
        ),
    ),
    (0, 5): (
        "vlan_counters",
        (("vlan_id", U32), ("octets", U64), *_u32("ucast_pkts multicast_pkts broadcast_pkts discards")),
    ),
    (0, 6): (
        "ieee80211_counters",
        _u32(
            "dot11_transmitted_fragment_count dot11_multicast_transmitted_frame_count dot11_failed_count"
            " dot11_retry_count dot11_multiple_retry_count dot11_frame_duplicate_count dot11_rts_success_count"
            " dot11_rts_failure_count dot11_ack_failure_count dot11_received_fragment_count"
            " dot11_multicast_received_frame_count dot11_fcs_error_count dot11_transmitted_frame_count"
            " dot11_wep_undecryptable_count dot11_qos_discarded_fragment_count dot11_associated_station_count"
            " dot11_qos_cf_polls_received_count dot11_qos_cf_polls_unused_count"
            " dot11_qos_cf_polls_unusable_count dot11_qos_cf_polls_lost_count"
        ),
    ),
    (0, 7): (
        "lag_port_stats",
        (
            ("dot3ad_agg_port_actor_system_id", MAC),
            ("dot3ad_agg_port_partner_oper_system_id", MAC),
            ("dot3ad_agg_port_attached_agg_id", U32),
            # Four octets: actor admin, actor oper, partner admin, partner oper.
            ("dot3ad_agg_port_state", OCTETS4),
            *_u32("dot3ad_agg_port_stats_lacpdus_rx dot3ad_agg_port_stats_marker_pdus_rx"),
            *_u32("dot3ad_agg_port_stats_marker_response_pdus_rx dot3ad_agg_port_stats_unknown_rx"),
            *_u32("dot3ad_agg_port_stats_illegal_rx dot3ad_agg_port_stats_lacpdus_tx"),
            *_u32("dot3ad_agg_port_stats_marker_pdus_tx dot3ad_agg_port_stats_marker_response_pdus_tx"),
        ),
    ),
    (0, 8): ("slow_path_counts", _u32("unknown other cam_miss cam_full no_hw_support cntrl")),
    # InfiniBand ports and, below, priority flow control: known by name only, their bodies are passed over.
    (0, 9): ("ib_counters", ()),
    (0, 10): (
        "sfp",
        (
            *_u32("module_id module_total_lanes module_supply_voltage"),
            ("module_temperature", I32),
            ("lanes", array(_LANE)),
        ),
    ),
    (0, 11): ("pfc_counters", ()),
    (0, 1001): (
        "processor",
        (*_u32("cpu_5s cpu_1m cpu_5m"), *_u64("total_memory free_memory")),
    ),
    (0, 1002): ("radio_utilization", _u32("elapsed_time on_channel_time on_channel_busy_time")),
    (0, 1003): (
        "queue_length",
        _u32(
            "queue_index segment_size queue_segments queue_length_0 queue_length_1 queue_length_2 queue_length_4"
            " queue_length_8 queue_length_32 queue_length_128 queue_length_1024 queue_length_more dropped"
        ),
    ),
    (0, 1004): ("of_port", (("datapath_id", U64), ("port_no", U32))),
    (0, 1005): ("port_name", (("port_name", STRING),)),
    (0, 2000): (
        "host_descr",
        (("hostname", STRING), ("uuid", UUID16), *_u32("machine_type os_name"), ("os_release", STRING)),
    ),
    (0, 2001): ("host_adapters", (("adapters", array(struct(("if_index", U32), ("mac_address", array(MAC))))),)),
    (0, 2002): ("host_parent", _u32("container_type container_index")),
    (0, 2003): (
        "host_cpu",
        (
            ("load_one", F32),
            ("load_five", F32),
            ("load_fifteen", F32),
            *_u32("proc_run proc_total cpu_num cpu_speed uptime cpu_user cpu_nice cpu_system cpu_idle cpu_wio"),
            *_u32("cpu_intr cpu_sintr interrupts contexts cpu_steal cpu_guest cpu_guest_nice"),
        ),
    ),
    (0, 2004): (
        "host_memory",
        (
            *_u64("mem_total mem_free mem_shared mem_buffers mem_cached swap_total swap_free"),
            *_u32("page_in page_out swap_in swap_out"),
        ),
    ),
    (0, 2005): (
        "host_disk_io",
        (
            *_u64("disk_total disk_free"),
            *_u32("part_max_used reads"),
            ("bytes_read", U64),
            *_u32("read_time writes"),
            ("bytes_written", U64),
            ("write_time", U32),
        ),
    ),
    (0, 2006): ("host_net_io", _NET_IO),
    (0, 2007): (
        "mib2_ip_group",
        _u32(
            "ip_forwarding ip_default_ttl ip_in_receives ip_in_hdr_errors ip_in_addr_errors ip_forw_datagrams"
            " ip_in_unknown_protos ip_in_discards ip_in_delivers ip_out_requests ip_out_discards ip_out_no_routes"
            " ip_reasm_timeout ip_reasm_reqds ip_reasm_oks ip_reasm_fails ip_frag_oks ip_frag_fails ip_frag_creates"
        ),
    ),
    (0, 2008): (
        "mib2_icmp_group",
        _u32(
            "icmp_in_msgs icmp_in_errors icmp_in_dest_unreachs icmp_in_time_excds icmp_in_param_probs"
            " icmp_in_src_quenchs icmp_in_redirects icmp_in_echos icmp_in_echo_reps icmp_in_timestamps"
            " icmp_in_addr_masks icmp_in_addr_mask_reps icmp_out_msgs icmp_out_errors icmp_out_dest_unreachs"
            " icmp_out_time_excds icmp_out_param_probs icmp_out_src_quenchs icmp_out_redirects icmp_out_echos"
            " icmp_out_echo_reps icmp_out_timestamps icmp_out_timestamp_reps icmp_out_addr_masks"
            " icmp_out_addr_mask_reps"
        ),
    ),
    (0, 2009): (
        "mib2_tcp_group",
        _u32(
            "tcp_rto_algorithm tcp_rto_min tcp_rto_max tcp_max_conn tcp_active_opens tcp_passive_opens"
            " tcp_attempt_fails tcp_estab_resets tcp_curr_estab tcp_in_segs tcp_out_segs tcp_retrans_segs"
            " tcp_in_errs tcp_out_rsts tcp_in_csum_errs"
        ),
    ),
    (0, 2010): (
        "mib2_udp_group",
        _u32(
            "udp_in_datagrams udp_no_ports udp_in_errors udp_out_datagrams udp_rcvbuf_errors udp_sndbuf_errors"
            " udp_in_csum_errors"
        ),
    ),
    (0, 2100): ("virt_node", (*_u32("mhz cpus"), *_u64("memory memory_free"), ("num_domains", U32))),
    (0, 2101): ("virt_cpu", _u32("state cpu_time nr_virt_cpu")),
    (0, 2102): ("virt_memory", _u64("memory max_memory")),
    (0, 2103): (
        "virt_disk_io",
        (
            *_u64("capacity allocation available"),
            ("rd_req", U32),
            ("rd_bytes", U64),
            ("wr_req", U32),
            ("wr_bytes", U64),
            ("errs", U32),
        ),
    ),
    (0, 2104): ("virt_net_io", _NET_IO),
    (0, 2105): ("jvm_runtime", (("vm_name", STRING), ("vm_vendor", STRING), ("vm_version", STRING))),
    (0, 2106): (
        "jvm_statistics",
        (
            *_u64("heap_initial heap_used heap_committed heap_max"),
            *_u64("non_heap_initial non_heap_used non_heap_committed non_heap_max"),
            *_u32("gc_count gc_time classes_loaded classes_total classes_unloaded compilation_time"),
            *_u32("thread_num_live thread_num_daemon thread_num_started fd_open_count fd_max_count"),
        ),
    ),
    # Superseded by 2204: known by name only.
    (0, 2200): ("memcache_counters_2200", ()),
    (0, 2201): (
        "http_counters",
        _u32(
            "method_option_count method_get_count method_head_count method_post_count method_put_count"
            " method_delete_count method_trace_count method_connect_count method_other_count status_1xx_count"
            " status_2xx_count status_3xx_count status_4xx_count status_5xx_count status_other_count"
        ),
    ),
    (0, 2202): (
        "app_operations",
        (
            ("application", STRING),
            *_u32("success other timeout internal_error bad_request forbidden too_large not_implemented not_found"),
            *_u32("unavailable unauthorized"),
        ),
    ),
    (0, 2203): (
        "app_resources",
        (*_u32("user_time system_time"), *_u64("mem_used mem_max"), *_u32("fd_open fd_max conn_open conn_max")),
    ),
    (0, 2204): (
        "memcache_counters",
        (
            *_u32("cmd_set cmd_touch cmd_flush get_hits get_misses delete_hits delete_misses incr_hits incr_misses"),
            *_u32("decr_hits decr_misses cas_hits cas_misses cas_badval auth_cmds auth_errors threads conn_yields"),
            *_u32("listen_disabled_num curr_connections rejected_connections total_connections"),
            *_u32("connection_structures evictions reclaimed curr_items total_items"),
            *_u64("bytes_read bytes_written bytes limit_maxbytes"),
        ),
    ),
    (0, 2205): (
        "vdi_counters",
        _u32(
            "sessions_current sessions_total sessions_duration rx_bytes tx_bytes rx_packets tx_packets"
            " rx_packets_lost tx_packets_lost rtt_min_ms rtt_max_ms rtt_avg_ms audio_rx_bytes audio_tx_bytes"
            " audio_tx_limit img_rx_bytes img_tx_bytes img_frames img_qual_min img_qual_max img_qual_avg"
            " usb_rx_bytes usb_tx_bytes"
        ),
    ),
    (0, 2206): (
        "app_workers",
        (("application", STRING), *_u32("workers_active workers_idle workers_max req_delayed req_dropped")),
    ),
    (0, 2207): ("ovs_dp_stats", _u32("hits misses lost mask_hits flows masks")),
    (0, 3000): (
        "energy",
        (*_u32("voltage current real_power"), ("power_factor", I32), *_u32("energy errors")),
    ),
    (0, 3001): ("temperature", (("minimum", I32), ("maximum", I32), ("errors", U32))),
    (0, 3002): ("humidity", _u32("relative")),
    (0, 3003): ("fans", _u32("total failed speed")),
    (4413, 1): (
        "bst_device_buffers",
        _u32("uc_pc mc_pc"),
    ),
    (4413, 2): (
        "bst_port_buffers",
        (
            *_u32("ingress_uc_pc ingress_mc_pc egress_uc_pc egress_mc_pc"),
            ("egress_queue_uc", array(U32)),
            ("egress_queue_mc", array(U32)),
        ),
    ),
    (4413, 3): (
        "hw_tables",
        _u32(
            "host_entries host_entries_max ipv4_entries ipv4_entries_max ipv6_entries ipv6_entries_max"
            " ipv4_ipv6_entries ipv4_ipv6_entries_max long_ipv6_entries long_ipv6_entries_max total_routes"
            " total_routes_max ecmp_nexthops ecmp_nexthops_max mac_entries mac_entries_max ipv4_neighbors"
            " ipv6_neighbors ipv4_routes ipv6_routes acl_ingress_entries acl_ingress_entries_max"
            " acl_ingress_counters acl_ingress_counters_max acl_ingress_meters acl_ingress_meters_max"
            " acl_ingress_slices acl_ingress_slices_max acl_egress_entries acl_egress_entries_max"
            " acl_egress_counters acl_egress_counters_max acl_egress_meters acl_egress_meters_max"
            " acl_egress_slices acl_egress_slices_max"
        ),
    ),
    (5703, 1): (
        "nvidia_gpu",
        (
            *_u32("device_count processes gpu_time mem_time"),
            *_u64("mem_total mem_free"),
            *_u32("ecc_errors energy temperature fan_speed"),
        ),
    ),
}
