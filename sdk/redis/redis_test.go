package sdkredis

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/guanlan-io/guanlan/sdk"
	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink keeps what is sent to it by path; what is in it is looked for as bytes,
// the encoding has tests of its own.
type sink struct {
	*httptest.Server
	mu  sync.Mutex
	got map[string]string
}

// start starts an SDK that sends to a sink; the function shuts it down.
func start(t testing.TB, share float64) (k *sink, end func()) {
	t.Helper()
	k = &sink{got: map[string]string{}}
	k.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		k.got[r.URL.Path] += string(body)
	}))
	client := &http.Client{Transport: &http.Transport{}}
	s, err := sdk.Start(context.Background(), sdk.Options{Endpoint: k.URL, Client: client, Sampler: core.NewByThreshold(share), Failed: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	end = func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		client.CloseIdleConnections()
		k.Close()
	}
	return k, end
}

// has checks what is in what was sent, and what is not.
func (k *sink) has(t *testing.T, path string, wants map[string]bool) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for what, want := range wants {
		if strings.Contains(k.got[path], what) != want {
			t.Errorf("%q in what was sent to %s is %v", what, path, !want)
		}
	}
}

// use does what programs do and says what it sees.
func use(ctx context.Context, rdb redis.UniversalClient, say func(...any)) {
	say(rdb.Ping(ctx).Result())
	say(rdb.Set(ctx, "{k}secret", "hunter2", time.Minute).Result())
	say(rdb.Get(ctx, "{k}secret").Result())
	say(rdb.Get(ctx, "{k}missing").Result())
	say(rdb.LPush(ctx, "{k}secret", "x").Result())
	say(rdb.Do(ctx, "NOSUCHCOMMAND", "hunter2").Err() != nil)
	say(rdb.HSet(ctx, "{k}h", "a", 1, "b", 2).Result())
	say(rdb.MGet(ctx, "{k}secret", "{k}missing").Result())
	cmds, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "{k}a", 1, 0)
		p.Incr(ctx, "{k}a")
		p.Get(ctx, "{k}missing")
		p.LPush(ctx, "{k}a", 2)
		return nil
	})
	say(err)
	for _, c := range cmds {
		say(c.String())
	}
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Get(ctx, "{k}a"); return nil })
	say(err)
	_, err = rdb.Pipelined(ctx, func(p redis.Pipeliner) error { p.Get(ctx, "{k}a"); p.Get(ctx, "{k}b"); return nil })
	say(err)
	cmds, err = rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Set(ctx, "{k}b", 1, 0)
		p.Set(ctx, "{k}c", 1, 0)
		return nil
	})
	say(err, len(cmds))
	err = rdb.Watch(ctx, func(tx *redis.Tx) error {
		n, err := tx.Get(ctx, "{k}b").Int()
		say(n, err)
		say(rdb.Set(ctx, "{k}b", 7, 0).Err()) // somebody else is quicker
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error { p.Set(ctx, "{k}b", n+1, 0); return nil })
		return err
	}, "{k}b")
	say(err, errors.Is(err, redis.TxFailedErr))
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	say(rdb.Get(canceled, "{k}a").Err())
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	err = rdb.BLPop(short, 10*time.Second, "{k}never").Err()
	say(err != nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if err := rdb.Incr(ctx, "{k}n").Err(); err != nil {
					say(err)
				}
			}
		})
	}
	wg.Wait()
	say(rdb.Get(ctx, "{k}n").Result())
	say(rdb.FlushAll(ctx).Result())
}

// testClient runs the program plain and instrumented, with and without
// sampling, and looks at what was sent.
func testClient(t *testing.T, connect func() redis.UniversalClient) {
	var want []string
	for _, mode := range []string{"plain", "without an SDK", "nothing sampled", "all sampled"} {
		var said []string
		var mu sync.Mutex
		say := func(what ...any) {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, fmt.Sprintln(what...))
		}
		rdb := connect()
		if mode != "plain" {
			Instrument(rdb)
		}
		var k *sink
		end := func() {}
		if strings.HasSuffix(mode, "sampled") {
			k, end = start(t, map[string]float64{"nothing sampled": 0, "all sampled": 1}[mode])
		}
		use(t.Context(), rdb, say)
		end()
		if err := rdb.Close(); err != nil {
			t.Error(err)
		}
		if mode == "plain" {
			if want = said; len(want) < 20 {
				t.Fatalf("the program said only %d things", len(want))
			}
			continue
		}
		if got, want := strings.Join(said, ""), strings.Join(want, ""); got != want {
			t.Errorf("%s, a program sees\n%s\nbut plain\n%s", mode, got, want)
		}
		if k == nil {
			continue
		}
		all := mode == "all sampled"
		k.has(t, "/v1/traces", map[string]bool{
			"redis": true, "WRONGTYPE": true, "LPUSH ? ?": true, "PIPELINE": true, "SET ? ?; INCR ?; GET ?; LPUSH ? ?": true, "NOSUCHCOMMAND ?": true, "canceled": true, "BLPOP": true, "timeout": true,
			"hunter2": false, "secret": false, "SETINFO": false, "HELLO": false, "CLIENT": false,
			"PING": all, "GET ?": true, "MGET ? ?": all, "PIPELINE GET": all, "GET ?; GET ?": all, "MULTI SET": all, "SET ? ?; SET ? ?": all, "CONNECT": all, "WATCH": all,
		})
		k.has(t, "/v1/metrics", map[string]bool{
			"db.client.operation.duration": true, "PIPELINE GET": true, "MULTI SET": true, "WRONGTYPE": true, "db.client.connection.create_time": true, "db.client.connection.count": true, "db.client.connection.max": true,
			"idle": true, "hunter2": false, "SETINFO": false,
		})
	}
}

func TestMiniredis(t *testing.T) {
	m := miniredis.RunT(t)
	testClient(t, func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{Addr: m.Addr(), DB: 3, ContextTimeoutEnabled: true})
	})
}

func TestRing(t *testing.T) {
	a, b := miniredis.RunT(t), miniredis.RunT(t)
	testRingOrCluster(t, redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": a.Addr(), "b": b.Addr()}}), a.Addr())
}

// testRingOrCluster looks at how commands on many keys come out.
func testRingOrCluster(t *testing.T, rdb redis.UniversalClient, address string) {
	t.Helper()
	Instrument(rdb)
	k, end := start(t, 1)
	for i := range 50 {
		if err := rdb.Set(t.Context(), strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error {
		for i := range 50 {
			p.Get(t.Context(), strconv.Itoa(i))
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	end()
	if err := rdb.Close(); err != nil {
		t.Error(err)
	}
	k.has(t, "/v1/traces", map[string]bool{"PIPELINE GET": true, "SET ? ?": true, "CONNECT": true, "(50 commands)": true, address: true, "error.type": false})
	if n := strings.Count(k.got["/v1/traces"], "SET ? ?"); n != 50 {
		t.Errorf("%d commands have a span, want 50", n)
	}
	if n := strings.Count(k.got["/v1/traces"], "(50 commands)"); n != 1 {
		t.Errorf("a pipeline over several servers has %d spans", n)
	}
	k.has(t, "/v1/metrics", map[string]bool{"db.client.connection.count": true})
}

// startRedis starts a real server; it skips where there is none. The function
// stops it.
func startRedis(t *testing.T, args ...string) (addr string) {
	t.Helper()
	bin, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("CI needs redis-server")
		}
		t.Skip("Redis is not installed: no redis-server in PATH")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_ = l.Close()
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	var out bytes.Buffer
	server := exec.Command(bin, append(args, "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())...)
	server.Stdout, server.Stderr = &out, &out
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	})
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	for deadline := time.Now().Add(30 * time.Second); rdb.Ping(t.Context()).Err() != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("Redis does not answer:\n%s", out.String())
		}
	}
	return addr
}

func TestRedis(t *testing.T) {
	addr := startRedis(t)
	for _, protocol := range []int{2, 3} {
		testClient(t, func() redis.UniversalClient {
			return redis.NewClient(&redis.Options{Addr: addr, Protocol: protocol, ContextTimeoutEnabled: true})
		})
	}
}

func TestRedisWithPassword(t *testing.T) {
	addr := startRedis(t)
	admin := redis.NewClient(&redis.Options{Addr: addr})
	defer admin.Close()
	if err := admin.ConfigSet(t.Context(), "requirepass", "hunter2").Err(); err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]map[string]bool{
		"hunter2": {"GET ?": true, "WRONGPASS": false, "hunter2": false},
		"hunter3": {"GET ?": true, "WRONGPASS": true, "hunter3": false},
	} {
		k, end := start(t, 1)
		rdb := redis.NewClient(&redis.Options{Addr: addr, Password: password})
		Instrument(rdb)
		_ = rdb.Get(t.Context(), "a").Err()
		_ = rdb.Close()
		end()
		k.has(t, "/v1/traces", want)
	}
}

func TestCluster(t *testing.T) {
	var nodes []*redis.Client
	var addrs []string
	for range 2 {
		addr := startRedis(t, "--cluster-enabled", "yes")
		addrs = append(addrs, addr)
		node := redis.NewClient(&redis.Options{Addr: addr})
		defer node.Close()
		nodes = append(nodes, node)
	}
	ctx := t.Context()
	host, port, _ := net.SplitHostPort(addrs[1])
	for _, err := range []error{
		nodes[0].ClusterAddSlotsRange(ctx, 0, 8000).Err(), nodes[1].ClusterAddSlotsRange(ctx, 8001, 16383).Err(), nodes[0].ClusterMeet(ctx, host, port).Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); ; {
		a, b := nodes[0].ClusterInfo(ctx).Val(), nodes[1].ClusterInfo(ctx).Val()
		if strings.Contains(a, "cluster_state:ok") && strings.Contains(b, "cluster_state:ok") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no cluster:\n%s\n%s", a, b)
		}
		time.Sleep(20 * time.Millisecond) // between two tries
	}
	connect := func() *redis.ClusterClient { return redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs}) }
	testRingOrCluster(t, connect(), addrs[0])

	// A slot moves: the client follows, and nothing has failed.
	rdb := connect()
	Instrument(rdb)
	k, end := start(t, 1)
	if err := rdb.Set(ctx, "a", 1, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Del(ctx, "a").Err(); err != nil {
		t.Fatal(err)
	}
	slot := int(rdb.ClusterKeySlot(ctx, "a").Val())
	to := nodes[0]
	if slot <= 8000 {
		to = nodes[1]
	}
	id := to.ClusterMyID(ctx).Val()
	for _, n := range nodes {
		if err := n.Do(ctx, "cluster", "setslot", slot, "node", id).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := rdb.Set(ctx, "a", 2, 0).Result(); err != nil || got != "OK" {
		t.Errorf("after a slot moved: %q, error %v", got, err)
	}
	end()
	_ = rdb.Close()
	k.has(t, "/v1/traces", map[string]bool{"MOVED": false, "error.type": false, "SET ? ?": true})
}

func TestSentinel(t *testing.T) {
	addr := startRedis(t)
	host, port, _ := net.SplitHostPort(addr)
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "sentinel monitor shop %s %s 1\n", host, port), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := startRedis(t, conf, "--sentinel")
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: "shop", SentinelAddrs: []string{sentinel}})
	Options{Keys: true, Server: "shop.example:26379"}.Instrument(rdb)
	k, end := start(t, 1)
	if err := rdb.Set(t.Context(), "the key", "hunter2", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Eval(t.Context(), "return 'hunter2'", nil).Err(); err != nil {
		t.Fatal(err)
	}
	end()
	_ = rdb.Close()
	k.has(t, "/v1/traces", map[string]bool{"SET the key ?": true, "shop.example": true, sentinelAddr: false, "EVAL ? ?": true, "hunter2": false})
}

// A server that is not there is a failure, and no more than one for a command.
func TestNoServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_ = l.Close()
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: 2, MinRetryBackoff: -1, DialerRetries: 1})
	Instrument(rdb)
	k, end := start(t, 0)
	if err := rdb.Get(t.Context(), "a").Err(); err == nil {
		t.Error("nobody answers")
	}
	end()
	if err := rdb.Get(t.Context(), "a").Err(); err == nil {
		t.Error("nobody answers")
	}
	_ = rdb.Close()
	if err := rdb.Get(t.Context(), "a").Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("error %v of a closed client", err)
	}
	k.has(t, "/v1/traces", map[string]bool{"dial_error": true, "CONNECT": true})
	if n := strings.Count(k.got["/v1/traces"], "GET ?"); n != 1 {
		t.Errorf("a command that was tried three times has %d spans", n)
	}
}

// A client that nobody uses any more is not kept by its metrics.
func TestClientIsLetGo(t *testing.T) {
	m := miniredis.RunT(t)
	gone := make(chan struct{})
	func() {
		rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
		Instrument(rdb)
		if err := rdb.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		_ = rdb.Close()
		runtime.AddCleanup(rdb, func(c chan struct{}) { close(c) }, gone)
	}()
	for deadline := time.Now().Add(time.Minute); ; {
		runtime.GC()
		select {
		case <-gone:
			return
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed client is still there")
		}
	}
}

// panics is a hook that does.
type panics struct{}

func (panics) DialHook(next redis.DialHook) redis.DialHook { return next }
func (panics) ProcessHook(redis.ProcessHook) redis.ProcessHook {
	return func(context.Context, redis.Cmder) error { panic("oh") }
}
func (panics) ProcessPipelineHook(redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(context.Context, []redis.Cmder) error { panic("oh") }
}

// What panics in another hook is a failure and goes on as it would.
func TestPanics(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	Instrument(rdb)
	rdb.AddHook(panics{})
	k, end := start(t, 0)
	for _, do := range []func(){
		func() { rdb.Get(t.Context(), "a") },
		func() {
			_, _ = rdb.Pipelined(t.Context(), func(p redis.Pipeliner) error { p.Incr(t.Context(), "a"); return nil })
		},
		func() {
			_, _ = (&hook{}).DialHook(func(context.Context, string, string) (net.Conn, error) { panic("oh") })(t.Context(), "tcp", "127.0.0.1:1")
		},
	} {
		func() {
			defer func() {
				if p := recover(); p != "oh" {
					t.Errorf("panic %v", p)
				}
			}()
			do()
		}()
	}
	end()
	k.has(t, "/v1/traces", map[string]bool{"GET ?": true, "INCR ?": true, "CONNECT": true})
	if n := strings.Count(k.got["/v1/traces"], "error.type"); n != 3 {
		t.Errorf("%d failures, want 3", n)
	}
}

// A client that another one was made of is let go, and their pool is still
// reported.
func TestPoolOfWithTimeout(t *testing.T) {
	m := miniredis.RunT(t)
	rdb := redis.NewClient(&redis.Options{Addr: m.Addr()})
	Instrument(rdb)
	rdb = rdb.WithTimeout(time.Second)
	for range 3 { // clean-ups have an order of their own
		collected := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(c chan struct{}) { close(c) }, collected)
		for done := false; !done; {
			runtime.GC()
			select {
			case <-collected:
				done = true
			default:
			}
		}
	}
	k, end := start(t, 0)
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	end()
	_ = rdb.Close()
	k.has(t, "/v1/metrics", map[string]bool{"db.client.connection.count": true})
}

// Metrics are collected although a cluster does not answer.
func TestClusterThatIsStuck(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{l.Addr().String()}, ReadTimeout: -1})
	defer rdb.Close()
	Instrument(rdb)
	_, end := start(t, 0)
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		end()
	}()
	select {
	case <-collected:
	case <-time.After(time.Minute):
		t.Fatal("the collection of metrics waits for the cluster")
	}
}

func TestNames(t *testing.T) {
	table := nameTable{names: map[string]commandName{}}
	for i := range 2 * maxNames {
		table.of(redis.NewCmd(t.Context(), fmt.Sprintf("command%d", i)))
	}
	if len(table.names) != maxNames {
		t.Errorf("%d names are kept, want %d", len(table.names), maxNames)
	}
	for _, cmd := range []*redis.Cmd{redis.NewCmd(t.Context()), redis.NewCmd(t.Context(), "one too many"), redis.NewCmd(t.Context(), 7)} {
		if got := table.of(cmd); got != otherName {
			t.Errorf("%v is called %q", cmd.Args(), got)
		}
	}
	if got, _ := table.ofPipeline(nil); got != "PIPELINE" && got != "" {
		t.Errorf("no commands are called %q", got)
	}
}

func TestText(t *testing.T) {
	many := make([]any, 100)
	for i := range many {
		many[i] = "mget"
	}
	for _, test := range []struct {
		args []any
		keys bool
		want string
	}{
		{[]any{"get", "k"}, false, "GET ?"},
		{[]any{"get", "k"}, true, "GET k"},
		{[]any{"set", "k", "v", "ex", 1}, true, "SET k ? ? ?"},
		{[]any{"eval", "script"}, true, "EVAL ?"},
		{[]any{"get", 7}, true, "GET ?"},
		{[]any{"get", "\xff" + strings.Repeat("k", 200)}, true, "GET " + strings.Repeat("k", maxKey-1)},
		{many, false, "MGET ? ? ? ? ? ? ? ? ... (99 arguments)"},
		{[]any{"ping"}, true, "PING"},
		{[]any{"auth", "hunter2"}, true, "AUTH ?"},
		{[]any{"hello", "3", "auth", "u", "hunter2"}, true, "HELLO ? ? ? ?"},
		{[]any{"publish", "channel", "message"}, true, "PUBLISH ? ?"},
		{[]any{"nosuchcommand", "hunter2"}, true, "NOSUCHCOMMAND ?"},
	} {
		if got := text([]redis.Cmder{redis.NewCmd(t.Context(), test.args...)}, test.keys); got != test.want {
			t.Errorf("%v is %q, want %q", test.args, got, test.want)
		}
	}
}

// serverError is an error of a server.
type serverError string

func (e serverError) Error() string { return string(e) }
func (serverError) RedisError()     {}

func TestNewer(t *testing.T) {
	s := &redis.PoolStats{PendingRequests: 1, WaitCount: 2, WaitDurationNs: 3}
	for name, want := range map[string]int64{"PendingRequests": 1, "WaitCount": 2, "WaitDurationNs": 3, "None": 0} {
		if got := newer(s, name); got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
}

func TestFailures(t *testing.T) {
	for _, test := range []struct {
		err             error
		failure, status string
	}{
		{nil, "", ""},
		{redis.Nil, "", ""},
		{fmt.Errorf("get: %w", redis.Nil), "", ""},
		{redis.TxFailedErr, "", ""},
		{serverError("WRONGTYPE Operation against a key"), "WRONGTYPE", "WRONGTYPE"},
		{fmt.Errorf("in vain: %w", serverError("MOVED 1 127.0.0.1:1")), "MOVED", "MOVED"},
		{serverError("user text 42"), "ERR", "ERR"},
		{serverError(""), "ERR", "ERR"},
		{context.DeadlineExceeded, "timeout", ""},
		{context.Canceled, "canceled", ""},
		{redis.ErrPoolTimeout, "pool_timeout", ""},
		{fmt.Errorf("get: %w", redis.ErrPoolExhausted), "pool_exhausted", ""},
		{redis.ErrClosed, "client_closed", ""},
		{&net.OpError{Op: "read", Err: errors.New("reset")}, "read_error", ""},
		{io.EOF, "connection_closed", ""},
		{errors.New("x"), "*errors.errorString", ""},
	} {
		if failure, status := failureOf(test.err); failure != test.failure || status != test.status {
			t.Errorf("%v is %q with status %q, want %q and %q", test.err, failure, status, test.failure, test.status)
		}
	}
}
