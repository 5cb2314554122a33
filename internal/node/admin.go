// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"

	"gregor/internal/wire"
)

type adminServer struct{}

func (n *Node) startAdmin(context.Context) error { return nil }

func (n *Node) closeAdmin(context.Context) {}

func (n *Node) wireMetrics() wire.Metrics { return nil }

// HTTPAddr is where metrics and health are served, "" when they are not.
func (n *Node) HTTPAddr() string { return "" }
