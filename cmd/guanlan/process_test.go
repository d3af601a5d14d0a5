package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const (
	// startPatience is how long a process may take to be ready. It takes about
	// a second; the rest is for machines that do much else.
	startPatience = 90 * time.Second
	// seenPatience is how long accepted data may take until it is found.
	// It takes about a second.
	seenPatience = 30 * time.Second
)

// process is a `guanlan up` of its own.
type process struct {
	cmd    *exec.Cmd
	dir    string // of the data
	api    string // base URL
	grpc   string // address
	http   string // base URL of OTLP/HTTP
	took   time.Duration
	output *output
	ended  chan struct{} // closed when it has ended
}

// output takes what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// freePort finds a port below those that the kernel gives to clients, so that
// a connection of another test does not take it before the process does.
func freePort() (int, error) {
	for range 1000 {
		port := 20_000 + rand.IntN(12_000)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port between 20000 and 32000")
}

// launch starts `guanlan up` on free ports and does not wait for it.
func launch(dir string, args ...string) (*process, error) {
	var at [3]string
	for i := range at {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		at[i] = "127.0.0.1:" + strconv.Itoa(port)
	}
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{dir: dir, api: "http://" + at[0], grpc: at[1], http: "http://" + at[2], output: &output{}, ended: make(chan struct{})}
	p.cmd = exec.Command(exe)
	p.cmd.Args = append([]string{"guanlan", "up", "--data", dir}, args...)
	p.cmd.Env = append(os.Environ(), "GUANLAN_ENDPOINT="+at[0], "GUANLAN_OTLP_GRPC="+at[1], "GUANLAN_OTLP_HTTP="+at[2])
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
	}()
	return p, nil
}

// ready waits until the process says on its first screen that it is.
func (p *process) ready() error {
	began := time.Now()
	for !strings.Contains(p.output.String(), "is ready") {
		select {
		case <-p.ended:
			return fmt.Errorf("guanlan up ended: %v\n%s", p.cmd.ProcessState, p.output)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(began) > startPatience {
			return fmt.Errorf("guanlan up is not ready after %v\n%s", startPatience, p.output)
		}
	}
	p.took = time.Since(began)
	return nil
}

// start runs `guanlan up` until the test ends.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	for try := 1; ; try++ {
		p, err := launch(dir, args...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.stop(t) })
		err = p.ready()
		if err == nil {
			return p
		}
		// Someone else was quicker to take the port.
		if try == 5 || !strings.Contains(err.Error(), "address already in use") {
			t.Fatal(err)
		}
	}
}

// alive reports whether the process still runs.
func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// stop ends the process in good order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if !p.alive() {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(startPatience):
		p.kill()
		t.Errorf("guanlan up did not stop within %v", startPatience)
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 && !t.Failed() {
		t.Errorf("guanlan up: exit code %d\n%s", code, p.output)
	}
}

// kill ends the process as the kernel does when memory runs out.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.ended
}

// healthy fails the test unless the process answers and has not panicked.
func (p *process) healthy(t *testing.T) {
	t.Helper()
	res, err := http.Get(p.api + "/-/ready")
	if err != nil {
		t.Fatalf("not healthy: %v\n%s", err, p.output)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("not healthy: %s", res.Status)
	}
	if text := p.output.String(); panicked(text) {
		t.Errorf("panicked:\n%s", text)
	}
}

// panicked looks for what the runtime writes when it ends the process.
func panicked(output string) bool {
	return strings.Contains(output, "panic:") || strings.Contains(output, "fatal error:") || strings.Contains(output, "goroutine 1 [")
}

// memory returns resident memory in bytes, now and at most since the start.
func (p *process) memory(t *testing.T) (now, most int64) {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("no figures of memory here:", err)
	}
	for line := range strings.Lines(string(text)) {
		var n int64
		if _, err := fmt.Sscanf(line, "VmRSS: %d kB", &n); err == nil {
			now = n << 10
		} else if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &n); err == nil {
			most = n << 10
		}
	}
	return now, most
}

// dial connects to OTLP/gRPC.
func (p *process) dial(t *testing.T, opts ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(p.grpc, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// get asks the JSON API as a tenant and decodes the answer into v.
func (p *process) get(tenant, path string, params url.Values, v any) error {
	req, err := http.NewRequest(http.MethodGet, p.api+path+"?"+params.Encode(), nil)
	if err != nil {
		return err
	}
	if tenant != "" {
		req.Header.Set("X-Scope-OrgID", tenant)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s?%s: %s: %s", path, params.Encode(), res.Status, text)
	}
	if !utf8.Valid(text) {
		return fmt.Errorf("%s?%s: the answer is not UTF-8", path, params.Encode())
	}
	return json.Unmarshal(text, v)
}

// counts returns how many stored rows carry each value of a field, at most
// 1000 values. Rows that were stored twice count twice.
func (p *process) counts(tenant, signal, field, filter string) (map[string]uint64, error) {
	var list struct {
		Values []struct {
			Value string
			Count uint64
		}
	}
	err := p.get(tenant, "/guanlan/v1/values/"+signal, url.Values{
		"field": {field}, "filter": {filter}, "limit": {"1000"}, "start": {"now-6h"}, "end": {"now+1h"},
	}, &list)
	counts := make(map[string]uint64, len(list.Values))
	for _, v := range list.Values {
		counts[v.Value] = v.Count
	}
	return counts, err
}

// eventually polls until ok answers nil.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	eventuallyWithin(t, seenPatience, what, ok)
}

func eventuallyWithin(t *testing.T, patience time.Duration, what string, ok func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}
