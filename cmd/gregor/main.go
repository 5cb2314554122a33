// SPDX-License-Identifier: Apache-2.0

// Command gregor is Kafka in one binary: broker, controller and tools.
package main

func main() {}
