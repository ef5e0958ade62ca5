//! Dashboards and alerts: what is written in them, and what a real Prometheus that scrapes real agents answers to every expression. There is no
//! Grafana here: that the JSON shows as it is meant was not seen, only that it has what Grafana's schema wants.

mod files;
mod scraped;
mod shown;
mod written;
