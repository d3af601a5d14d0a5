// Package sdkredis instruments clients of Redis that are made with go-redis: a
// span for each command and pipeline, the histogram
// db.client.operation.duration of all of them, and the metrics of the pool of
// connections. It follows OpenTelemetry's semantic conventions for databases
// and Redis.
//
//	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	sdkredis.Instrument(rdb)
package sdkredis

import (
	"context"
	"maps"
	"net"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unique"
	"weak"

	"github.com/redis/go-redis/v9"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/internal/message"
)

// Options say what is shown of commands. The zero value works.
type Options struct {
	// Keys shows the first key of a command in db.query.text, which is the name
	// of the command and a ? for each argument otherwise.
	Keys bool
	// Server is the address of the server, as host:port; default: as the client
	// is configured. A client of a sentinel has none of its own.
	Server string
	// Pool is the name of the pool in metrics; default server/database.
	Pool string
}

// Instrument instruments a client: one of a single server, of a cluster, a ring
// or a sentinel. Call it once for a client, before it is used. It may be called
// before sdk.Start and follows the SDK that runs when a command is made.
//
// A span covers a command with all that the client does for it: waiting for a
// connection, retries, redirections within a cluster. db.namespace is the
// database that the client was made with.
func Instrument(rdb redis.UniversalClient) { Options{}.Instrument(rdb) }

// Instrument is the function Instrument with options.
func (o Options) Instrument(rdb redis.UniversalClient) {
	h, _ := o.attach(rdb)
	rdb.AddHook(h)
}

// attach does all that Instrument does but for adding the hook: it observes the
// pool until stop is called, and the dialing of the nodes. There is a function for
// each kind of client, so that a program which has one kind is not linked with
// the others.
func (o Options) attach(rdb redis.UniversalClient) (h *hook, stop func()) {
	switch c := rdb.(type) {
	case *redis.Client:
		return o.attachClient(c)
	case *redis.ClusterClient:
		return o.attachCluster(c)
	case *redis.Ring:
		return o.attachRing(c)
	}
	h, _ = o.hook(target{})
	return h, func() {}
}

func (o Options) attachClient(c *redis.Client) (h *hook, stop func()) {
	opts := c.Options()
	t := target{namespace: strconv.Itoa(opts.DB)}
	if opts.Addr != sentinelAddr {
		t.setServer(opts.Addr)
	}
	h, pool := o.hook(t)
	h.pools = func() []*redis.PoolStats { return []*redis.PoolStats{c.PoolStats()} }
	return h, h.observe(pool, sdk.ConnectionStats{Max: opts.PoolSize, IdleMin: opts.MinIdleConns, IdleMax: opts.MaxIdleConns})
}

func (o Options) attachCluster(c *redis.ClusterClient) (h *hook, stop func()) {
	t := target{}
	t.setServer(c.Options().Addrs...)
	h, pool := o.hook(t)
	// PoolStats of the cluster may ask the servers for its nodes first, and
	// wait for them without end.
	known := new(nodes)
	c.OnNewNode(func(node *redis.Client) {
		own := &dialHook{hook: h, node: node}
		node.AddHook(own)
		known.add(own)
	})
	h.pools = known.stats
	return h, h.observe(pool, sdk.ConnectionStats{})
}

func (o Options) attachRing(c *redis.Ring) (h *hook, stop func()) {
	opts := c.Options()
	addrs := slices.Sorted(maps.Values(opts.Addrs))
	t := target{namespace: strconv.Itoa(opts.DB)}
	t.setServer(addrs...)
	h, pool := o.hook(t)
	dial := func(node *redis.Client) { node.AddHook(&dialHook{hook: h, node: node}) }
	c.OnNewNode(dial)
	_ = c.ForEachShard(context.Background(), func(_ context.Context, node *redis.Client) error { dial(node); return nil }) // those that are there
	h.pools = func() []*redis.PoolStats { return []*redis.PoolStats{c.PoolStats()} }
	return h, h.observe(pool, sdk.ConnectionStats{})
}

// hook makes that of a client, and says what its pool is called.
func (o Options) hook(t target) (h *hook, pool string) {
	if o.Server != "" {
		t.setServer(o.Server)
	}
	if o.Pool == "" {
		o.Pool = strings.Trim(t.address()+"/"+t.namespace, "/")
	}
	return &hook{target: unique.Make(t), attrs: t.attrs(nil), pool: o.Pool, keys: o.Keys}, o.Pool
}

// nodes are those of a cluster, as long as it has them. The weak pointers are to
// hooks, which only their nodes have: a generic type of a client costs the
// compiler wrappers of its several hundred methods.
type nodes struct {
	mu  sync.Mutex
	all []weak.Pointer[dialHook]
}

func (n *nodes) add(own *dialHook) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(slices.DeleteFunc(n.all, func(p weak.Pointer[dialHook]) bool { return p.Value() == nil }), weak.Make(own))
}

func (n *nodes) stats() (all []*redis.PoolStats) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.all {
		if own := p.Value(); own != nil {
			all = append(all, own.node.PoolStats())
		}
	}
	return all
}

// sentinelAddr is what go-redis has for an address where a sentinel tells it.
const sentinelAddr = "FailoverClient"

// observe reports the pools until stop is called, and no longer than a client
// has the hook: what is reported must not keep it.
func (h *hook) observe(name string, limits sdk.ConnectionStats) (stop func()) {
	there := weak.Make(h)
	stop = sdk.ObserveConnections(name, func() sdk.ConnectionStats {
		h := there.Value()
		if h == nil {
			return sdk.ConnectionStats{}
		}
		now, stale := limits, int64(0)
		for _, s := range h.pools() {
			now.Used += int(s.TotalConns) - int(s.IdleConns)
			now.Idle += int(s.IdleConns)
			now.Pending += int(newer(s, "PendingRequests"))
			now.Waits += newer(s, "WaitCount")
			now.WaitTime += time.Duration(newer(s, "WaitDurationNs"))
			now.Timeouts += int64(s.Timeouts)
			stale += int64(s.StaleConns)
		}
		now.Closed = map[string]int64{"stale": stale}
		return now
	})
	runtime.AddCleanup(h, func(stop func()) { stop() }, stop)
	return stop
}

// newer is a number that not all versions of go-redis have: woven, this package is
// part of the one that the program uses.
func newer(s *redis.PoolStats, name string) int64 {
	switch v := reflect.ValueOf(s).Elem().FieldByName(name); {
	case !v.IsValid():
		return 0
	case v.CanUint():
		return int64(v.Uint())
	default:
		return v.Int()
	}
}

// target is what the series of all commands of a client have in common.
type target struct {
	server, namespace string
	port              int
}

// setServer sets the address; of several servers it is all of them.
func (t *target) setServer(addrs ...string) {
	t.server, t.port = strings.Join(addrs, ","), 0
	if len(addrs) != 1 {
		return
	}
	if host, port, err := net.SplitHostPort(addrs[0]); err == nil {
		if n, err := strconv.Atoi(port); err == nil {
			t.server, t.port = host, n
		}
	}
}

func (t *target) address() string {
	if t.port == 0 {
		return t.server
	}
	return net.JoinHostPort(t.server, strconv.Itoa(t.port))
}

func (t *target) attrs(to []core.Attr) []core.Attr {
	to = append(to, core.String("db.system.name", "redis"))
	if t.namespace != "" {
		to = append(to, core.String("db.namespace", t.namespace))
	}
	if t.server != "" {
		to = append(to, core.String("server.address", t.server))
	}
	if t.port != 0 {
		to = append(to, core.Int("server.port", int64(t.port)))
	}
	return to
}

// scope is the instrumentation scope.
const scope = "github.com/guanlan-io/guanlan/sdk/redis"

// bounds are those of the semantic conventions for database operations.
var bounds = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10}

// commandKey is what the series of a command depends on.
type commandKey struct {
	target                     unique.Handle[target]
	operation, failure, status string
}

func (k commandKey) attrs() []core.Attr {
	t := k.target.Value()
	attrs := append(t.attrs(make([]core.Attr, 0, 8)), core.String("db.operation.name", k.operation))
	if k.failure != "" {
		attrs = append(attrs, core.String("error.type", k.failure))
	}
	if k.status != "" {
		attrs = append(attrs, core.String("db.response.status_code", k.status))
	}
	return attrs
}

var commands = sdk.NewOperations(sdk.OperationOptions[commandKey]{
	Scope: scope, Kind: core.KindClient, Bounds: bounds,
	Metric: "db.client.operation.duration", Description: "Duration of database client operations.", Attrs: commandKey.attrs,
})

// connectKey is what the series of the opening of connections depends on.
type connectKey struct{ pool, failure string }

func (k connectKey) attrs() []core.Attr {
	attrs := []core.Attr{core.String("db.client.connection.pool.name", k.pool)}
	if k.failure != "" {
		attrs = append(attrs, core.String("error.type", k.failure))
	}
	return attrs
}

var connects = sdk.NewOperations(sdk.OperationOptions[connectKey]{
	Scope: scope, Kind: core.KindClient, Bounds: bounds,
	Metric: "db.client.connection.create_time", Description: "The time it took to create a new connection.", Attrs: connectKey.attrs,
})

// hook is what go-redis calls around all it does.
type hook struct {
	target unique.Handle[target]
	attrs  []core.Attr // of target
	pool   string
	keys   bool
	// pools asks the client, which the hook thereby keeps. What WithTimeout makes of
	// a client shares its pool, as it shares the hook: the pool is there as long
	// as one of them is.
	pools func() []*redis.PoolStats
}

// DialHook implements redis.Hook.
func (h *hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (conn net.Conn, err error) {
		op := connects.Start(ctx, "CONNECT")
		defer func() {
			if err == nil && conn != nil && conn.RemoteAddr() != nil { // a sentinel has told it, say
				addr = conn.RemoteAddr().String()
			}
			h.dialed(op, addr, err)
		}()
		err = errPanicked
		conn, err = next(op.Ctx(), network, addr)
		return conn, err
	}
}

// dialed ends the opening of a connection.
func (h *hook) dialed(op *sdk.Operation[connectKey], addr string, err error) {
	failure, _ := failureOf(err)
	if op.Finish(failure) {
		op.Span().SetAttrs(h.attrs...)
		op.Span().SetAttr(core.String("db.operation.name", "CONNECT"))
		if addr != sentinelAddr {
			describePeer(op.Span(), addr)
		}
	}
	op.End(connectKey{h.pool, failure})
}

func describePeer(sp *sdk.Span, addr string) {
	peer := target{}
	peer.setServer(addr)
	sp.SetAttr(core.String("network.peer.address", peer.server))
	if peer.port != 0 {
		sp.SetAttr(core.Int("network.peer.port", int64(peer.port)))
	}
}

// ProcessHook implements redis.Hook.
func (h *hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) (err error) {
		if isHandshake(cmd) {
			return next(ctx, cmd)
		}
		operation := names.of(cmd)
		op := commands.Start(ctx, operation)
		described := op.Recording()
		if described {
			h.describe(op.Span(), operation, cmd)
		}
		defer func() {
			failure, status := failureOf(err)
			if op.Finish(failure) {
				if !described {
					h.describe(op.Span(), operation, cmd)
				}
				describeFailure(op.Span(), err, failure, status)
			}
			op.End(commandKey{h.target, operation, failure, status})
		}()
		err = errPanicked
		err = next(op.Ctx(), cmd)
		return err
	}
}

// ProcessPipelineHook implements redis.Hook. A pipeline fails when one of its
// commands does.
func (h *hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) (err error) {
		if !slices.ContainsFunc(cmds, func(c redis.Cmder) bool { return !isHandshake(c) }) {
			return next(ctx, cmds)
		}
		operation, inside := names.ofPipeline(cmds)
		op := commands.Start(ctx, operation)
		described := op.Recording()
		if described {
			h.describe(op.Span(), operation, inside...)
		}
		defer func() {
			failure, status := failureOf(err)
			first := err
			for _, c := range cmds {
				if failure != "" {
					break
				}
				first = c.Err()
				failure, status = failureOf(first)
			}
			if op.Finish(failure) {
				if !described {
					h.describe(op.Span(), operation, inside...)
				}
				describeFailure(op.Span(), first, failure, status)
			}
			op.End(commandKey{h.target, operation, failure, status})
		}()
		err = errPanicked
		err = next(op.Ctx(), cmds)
		return err
	}
}

// describe sets what is known before a command is sent.
func (h *hook) describe(sp *sdk.Span, operation string, cmds ...redis.Cmder) {
	var few [8]core.Attr
	attrs := append(few[:0], h.attrs...)
	attrs = append(attrs, core.String("db.operation.name", operation), core.String("db.query.text", text(cmds, h.keys)))
	if len(cmds) != 1 {
		attrs = append(attrs, core.Int("db.operation.batch.size", int64(len(cmds))))
	}
	sp.SetAttrs(attrs...)
}

func describeFailure(sp *sdk.Span, err error, failure, status string) {
	if failure == "" {
		return
	}
	if status != "" {
		sp.SetAttr(core.String("db.response.status_code", status))
	}
	sp.SetStatus(core.StatusError, message.Plain(err.Error()))
}

// dialHook is for the nodes of a cluster, whose commands are seen at the
// cluster.
type dialHook struct {
	hook *hook
	node *redis.Client // whose hook this is
}

// DialHook implements redis.Hook.
func (h *dialHook) DialHook(next redis.DialHook) redis.DialHook { return h.hook.DialHook(next) }

// ProcessHook implements redis.Hook.
func (h *dialHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (h *dialHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
