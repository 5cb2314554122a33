// SPDX-License-Identifier: Apache-2.0

// Package config knows every property once.
//
// One table (table_*.go) holds each property's name, type, default, range,
// importance, the way it may be changed at run time, what Gregor does with it
// and a sentence of explanation. From that table come parsing, validation,
// `gregor config explain`, DescribeConfigs with its synonyms, the typed views
// (Broker, Topic, Group) that other rooms read, and the reference pages under
// docs/reference. Property names are spelled nowhere else.
//
// The package refuses to know files other than the ones it is told to read,
// the protocol, the metadata image and the log: dynamic values are handed in
// as plain maps.
//
// A value's way to a view, lowest precedence first:
//
//	default < shipped (no file only) < file < GREGOR_* < --override     static
//	        < cluster default < this broker                             dynamic
//
// Invariants:
//   - A Settings and every view made from it are immutable; Live publishes
//     the current one through an atomic pointer.
//   - A setting whose feature is not built is refused when it differs from
//     its default. Nothing is silently ignored: settings that mean nothing
//     here (thread pools, JVM matters) say so in their entry.
//   - All listings come in the order of names.
//
// Concurrency: published immutable (Settings, views), one leaf mutex in Live
// that serialises changes and their subscribers.
package config

//go:generate go run ./gendocs ../../docs/reference
