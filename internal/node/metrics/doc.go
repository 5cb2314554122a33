// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what a node does and shows it to Prometheus under
// the names that dashboards for Kafka expect: those that jmx_exporter gives
// Kafka's MBeans with Strimzi's rules, and kafka_exporter's for consumer lag.
//
// Two kinds of figures meet here. What happens is counted as it happens, in
// atomics that hot paths find without a lock or an allocation (Request,
// Produced, Fetched). What is so (partitions, offsets, lag, the controller's
// counts) is asked of its owner when Prometheus scrapes, through the functions
// of Sources.
//
// All series come from one collector over one table of names (catalogue), from
// which docs/reference/metrics.md is printed too.
//
// Bounds: series for single partitions stop at a limit, counters for single
// topics at maxTopics; what is left out still counts in the sums, and
// gregor_metrics_partitions_left_out tells how many were.
//
// Concurrency: counters are atomic; the map of topics is published immutable
// and replaced under a leaf mutex; Collect may run beside everything.
package metrics

//go:generate go run ./gendocs ../../../docs/reference/metrics.md
