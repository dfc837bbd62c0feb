//! `listener.<address>.…` and, below it, `http.<stat_prefix>.…`

super::stat_group! {
    /// Statistics of one listener.
    pub struct ListenerStats {
        counters {
            downstream_cx_destroy,
            downstream_cx_overflow,
            downstream_cx_overload_reject,
            downstream_cx_total,
            downstream_cx_transport_socket_connect_timeout,
            downstream_global_cx_overflow,
            downstream_listener_filter_error,
            downstream_listener_filter_remote_close,
            downstream_pre_cx_timeout,
            extension_config_missing,
            network_extension_config_missing,
            no_filter_chain_match,
        }
        gauges {
            downstream_cx_active,
            downstream_pre_cx_active,
        }
        histograms {
            connections_accepted_per_socket_event,
            downstream_cx_length_ms,
        }
        codes {}
    }
}

super::stat_group! {
    /// Responses of one connection manager on one listener.
    pub struct ListenerHttpStats {
        counters {
            downstream_rq_1xx,
            downstream_rq_2xx,
            downstream_rq_3xx,
            downstream_rq_4xx,
            downstream_rq_5xx,
            downstream_rq_completed,
        }
        gauges {}
        histograms {}
        codes {}
    }
}

impl ListenerHttpStats {
    /// Counts a response that went downstream: its class, and the total.
    pub fn response(&self, status: u16) {
        self.downstream_rq_completed.inc();
        match status / 100 {
            1 => self.downstream_rq_1xx.inc(),
            2 => self.downstream_rq_2xx.inc(),
            3 => self.downstream_rq_3xx.inc(),
            4 => self.downstream_rq_4xx.inc(),
            5 => self.downstream_rq_5xx.inc(),
            _ => {}
        }
    }
}
