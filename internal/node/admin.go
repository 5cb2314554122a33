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
