//go:build guanlan_woven

package redis

import (
	"context"
	"net"
	"reflect"
	"sync/atomic"
)

// guanlanHook is our hook of a client, until somebody instruments the client
// with the SDK by hand: what that is told by options is meant.
type guanlanHook struct {
	*guanlanSdkredis_hook
	gone atomic.Bool
	stop func() // of observing the pool
}

func guanlanClient(c *Client) {
	if !c.opt.guanlanNode {
		own, stop := guanlanSdkredisOptions{}.attachClient(c)
		c.guanlan = &guanlanHook{guanlanSdkredis_hook: own, stop: stop}
		c.opt.guanlanHook = c.guanlan
		c.AddHook(c.guanlan)
	}
}

func guanlanCluster(c *ClusterClient) {
	own, stop := guanlanSdkredisOptions{}.attachCluster(c)
	c.guanlan = &guanlanHook{guanlanSdkredis_hook: own, stop: stop}
	c.AddHook(c.guanlan)
}

func guanlanRing(c *Ring) {
	own, stop := guanlanSdkredisOptions{}.attachRing(c)
	c.guanlan = &guanlanHook{guanlanSdkredis_hook: own, stop: stop}
	c.AddHook(c.guanlan)
}

// guanlanNode marks the options of a client that is a part of another one.
func guanlanNode(o *Options) *Options {
	o.guanlanNode = true
	return o
}

// guanlanClone gives a client that was made of another one the same hook, unless
// it has it.
func guanlanClone(c *Client) {
	if h := c.opt.guanlanHook; h != nil && c.guanlan == nil {
		c.guanlan = h
		c.AddHook(h)
	}
}

// guanlanConn gives a connection the hook of its client.
func guanlanConn(c *Conn) *Conn {
	if h := c.opt.guanlanHook; h != nil {
		c.AddHook(h)
	}
	return c
}

// guanlanAdded is called before a hook is added.
func guanlanAdded(h *guanlanHook, other Hook) {
	if h == nil {
		return
	}
	t := reflect.TypeOf(other)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() == "github.com/guanlan-io/guanlan/sdk/redis" && !h.gone.Swap(true) {
		h.stop()
	}
}

// DialHook implements Hook.
func (h *guanlanHook) DialHook(next DialHook) DialHook {
	ours := h.guanlanSdkredis_hook.DialHook(next)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if h.gone.Load() {
			return next(ctx, network, addr)
		}
		return ours(ctx, network, addr)
	}
}

// ProcessHook implements Hook.
func (h *guanlanHook) ProcessHook(next ProcessHook) ProcessHook {
	ours := h.guanlanSdkredis_hook.ProcessHook(next)
	return func(ctx context.Context, cmd Cmder) error {
		if h.gone.Load() {
			return next(ctx, cmd)
		}
		return ours(ctx, cmd)
	}
}

// ProcessPipelineHook implements Hook.
func (h *guanlanHook) ProcessPipelineHook(next ProcessPipelineHook) ProcessPipelineHook {
	ours := h.guanlanSdkredis_hook.ProcessPipelineHook(next)
	return func(ctx context.Context, cmds []Cmder) error {
		if h.gone.Load() {
			return next(ctx, cmds)
		}
		return ours(ctx, cmds)
	}
}
