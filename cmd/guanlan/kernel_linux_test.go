package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/guanlan-io/guanlan/collector/kernelreceiver"
	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
	"github.com/guanlan-io/guanlan/internal/query"
)

// checking asks what works here. A test of a feature that this kernel or user
// cannot do is skipped, by what the feature itself says is missing.
func checking(t *testing.T) (all []telemetry.Feature, need func(t *testing.T, feature string)) {
	t.Helper()
	all, _, err := kernelreceiver.Check(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return all, func(t *testing.T, feature string) {
		t.Helper()
		for _, f := range all {
			switch {
			case f.Name != feature:
			case f.State == telemetry.Missing:
				t.Skip(&kernel.Unsupported{Feature: f.Name, Missing: f.Missing, Next: f.Next})
			case f.State == telemetry.Failed:
				t.Fatal(f.Error)
			}
		}
	}
}

// records returns the log records that a filter finds.
func (p *process) records(filter string) ([]query.Log, error) {
	var list query.LogList
	err := p.get("", "/guanlan/v1/logs", url.Values{"filter": {filter}, "start": {"now-10m"}, "end": {"now+1m"}, "limit": {"100"}}, &list)
	return list.Logs, err
}

// record waits for one.
func (p *process) record(t *testing.T, filter string) (found query.Log) {
	t.Helper()
	eventually(t, filter, func() error {
		all, err := p.records(filter)
		if err == nil && len(all) == 0 {
			return errors.New("no record")
		}
		if err == nil {
			found = all[0]
		}
		return err
	})
	return found
}

func attribute(list []query.Attribute, key string) string {
	for _, a := range list {
		if n, ok := a.Value.(float64); ok && a.Key == key { // as JSON has it
			return strconv.FormatFloat(n, 'f', -1, 64)
		} else if a.Key == key {
			return fmt.Sprint(a.Value)
		}
	}
	return ""
}

// container makes a cgroup as a container runtime does, with a limit of memory.
func newContainer(t *testing.T, limit int) (procs, id string) {
	t.Helper()
	h := kernel.NewHost(kernel.Options{})
	root, file := h.Cgroup2(), "memory.max"
	if h.MemoryMount() != "" {
		root, file = h.MemoryMount(), "memory.limit_in_bytes"
	}
	upper := filepath.Join(root, "guanlan-up-test-"+strconv.Itoa(os.Getpid()))
	id = fmt.Sprintf("%064x", time.Now().UnixNano())
	dir := filepath.Join(upper, id)
	t.Cleanup(func() {
		for _, d := range []string{dir, upper} {
			for deadline := time.Now().Add(time.Minute); os.Remove(d) != nil && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
				if _, err := os.Stat(d); err != nil {
					break
				}
			}
		}
	})
	err := os.MkdirAll(dir, 0o755)
	if err == nil && h.MemoryMount() == "" {
		err = os.WriteFile(filepath.Join(upper, "cgroup.subtree_control"), []byte("+memory"), 0)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, file), []byte(strconv.Itoa(limit)), 0)
	}
	if err != nil {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "the right to make cgroups with a limit", Err: err})
	}
	return filepath.Join(dir, "cgroup.procs"), id
}

// inContainer runs a shell command in a cgroup.
func inContainer(t *testing.T, procs, command string) error {
	t.Helper()
	c := exec.Command("/bin/sh", "-c", "echo $$ > "+procs+" && exec "+command)
	c.Env = append(os.Environ(), "OTEL_SERVICE_NAME=cart")
	out, err := c.CombinedOutput()
	t.Logf("%s: %v %s", command, err, out)
	return err
}

// TestUpWatchesTheKernel makes real connections, processes and a real kill, and
// finds them through the APIs.
func TestUpWatchesTheKernel(t *testing.T) {
	_, need := checking(t)
	p := start(t, t.TempDir(), "--kernel", "--set", "receivers::kernel::tcp::interval=1s", "--set", "receivers::kernel::profile::interval=1s")

	t.Run("traffic", func(t *testing.T) {
		need(t, "tcp")
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		const size = 1 << 20
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			_, _ = io.CopyN(io.Discard, c, size)
			_, _ = c.Write([]byte("k"))
		}()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Write(bytes.Repeat([]byte("x"), size)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		client := fmt.Sprintf(`{kernel_tcp_role="client",network_peer_address="127.0.0.1",network_peer_port=%q,service_peer_name="guanlan.test"`, port)
		server := fmt.Sprintf(`{kernel_tcp_role="server",network_local_port=%q`, port)
		for expr, want := range map[string]float64{
			`sum(kernel_tcp_io_bytes_total` + client + `,network_io_direction="transmit",job="guanlan.test"})`: size,
			`sum(kernel_tcp_io_bytes_total` + server + `,network_io_direction="receive",job="guanlan.test"})`:  size,
			`sum(kernel_tcp_accepts_total` + server + `})`:                                                     1,
			`sum(histogram_count(kernel_tcp_connect_duration_seconds` + client + `}))`:                         1,
			`sum(kernel_tcp_connections` + client + `})`:                                                       1,
			`sum(guanlan_kernel_feature_up{kernel_feature="tcp"})`:                                             1,
		} {
			eventually(t, expr, func() error { return p.wantSample("", expr, want) })
		}
	})

	t.Run("refused", func(t *testing.T) {
		need(t, "tcp")
		port, err := freePort()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			t.Fatal("somebody listens there")
		}
		r := p.record(t, fmt.Sprintf("event_name = kernel.tcp.connect_failed and network.peer.port = %d", port))
		if r.Severity != "warn" || r.Service != "guanlan.test" || attribute(r.Attributes, "error.type") != "refused" ||
			attribute(r.Attributes, "process.pid") != strconv.Itoa(os.Getpid()) || !strings.Contains(r.Body, "was refused") {
			t.Errorf("%+v", r)
		}
		// The first failure shows in an increase, not only the second.
		expr := fmt.Sprintf(`sum(increase(kernel_tcp_connect_failures_total{error_type="refused",network_peer_port="%d"}[5m])) >= bool 1`, port)
		eventually(t, expr, func() error { return p.wantSample("", expr, 1) })
	})

	t.Run("audit", func(t *testing.T) {
		need(t, "audit")
		procs, id := newContainer(t, 256<<20)
		if err := inContainer(t, procs, "/bin/sh -c 'sleep 0.5; true'"); err != nil {
			t.Fatal(err)
		}
		r := p.record(t, "event_name = kernel.audit.exec and container.id = "+id+" and kernel.audit.rule exists")
		if r.Service != "cart" || attribute(r.Attributes, "kernel.audit.technique") == "" || attribute(r.Attributes, "kernel.audit.severity") == "" ||
			!strings.HasPrefix(attribute(r.Attributes, "kernel.audit.ancestors"), "guanlan.test(") {
			t.Errorf("%+v", r)
		}
	})

	t.Run("oom", func(t *testing.T) {
		need(t, "oom")
		procs, id := newContainer(t, 64<<20)
		if err := inContainer(t, procs, "tail /dev/zero"); err == nil {
			t.Fatal("it was not killed")
		}
		r := p.record(t, "event_name = kernel.oom and container.id = "+id)
		if r.Severity != "error" || r.Service != "cart" || attribute(r.Attributes, "kernel.oom.limit") != strconv.Itoa(64<<20) ||
			attribute(r.Attributes, "process.command_line") != "tail /dev/zero" || !strings.Contains(attribute(r.Attributes, "kernel.oom.top"), `"tail"`) {
			t.Errorf("%+v", r)
		}
	})

	t.Run("profile", func(t *testing.T) {
		need(t, "profile")
		eventually(t, "a profile of this process", func() error {
			for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
				_ = strings.Repeat("busy", 1000)
			}
			var list struct {
				Series []struct{ Service, Type string }
			}
			if err := p.get("", "/api/v1/profiles", url.Values{"from": {"now-5m"}, "to": {"now"}, "filter": {"service.name = guanlan.test"}}, &list); err != nil {
				return err
			}
			for _, s := range list.Series {
				if s.Type == "cpu" {
					return nil
				}
			}
			return fmt.Errorf("series %+v", list.Series)
		})
	})
	p.healthy(t)
}

// TestAgentSendsToAnother runs the agent beside a Guanlan that watches nothing.
func TestAgentSendsToAnother(t *testing.T) {
	all, _ := checking(t)
	p := start(t, t.TempDir())
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := &output{}
	agent := exec.Command(exe)
	agent.Args = []string{"guanlan", "agent", "--endpoint", p.http, "--features", "tcp,audit", "--set", "receivers::kernel::tcp::interval=1s"}
	agent.Stdout, agent.Stderr = out, out
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- agent.Wait() }()
	want := 0
	if telemetry.Blind(slices.DeleteFunc(slices.Clone(all), func(f telemetry.Feature) bool { return f.Name != "tcp" && f.Name != "audit" })) {
		want = exitFailure
	}
	t.Cleanup(func() {
		_ = agent.Process.Signal(os.Interrupt)
		select {
		case <-ended:
			if got := agent.ProcessState.ExitCode(); got != want {
				t.Errorf("agent: exit code %d, want %d\n%s", got, want, out)
			}
		case <-time.After(startPatience):
			_ = agent.Process.Kill()
			t.Errorf("agent does not stop\n%s", out)
		}
	})
	// As nobody in particular it says that it sees nothing, and ends.
	for _, f := range all {
		if f.Name != "tcp" {
			continue
		}
		up := "1"
		if f.Err() != nil {
			up = "0"
		}
		expr := fmt.Sprintf(`count(guanlan_kernel_feature_up{kernel_feature=%q,job="guanlan-agent"} == %s)`, f.Name, up)
		eventually(t, expr+"\n"+out.String(), func() error { return p.wantSample("", expr, 1) })
	}
}

// TestLeastCapabilities checks as nobody, with and without the two capabilities
// that the guide calls the least.
func TestLeastCapabilities(t *testing.T) {
	_, need := checking(t)
	for _, feature := range []string{"tcp", "oom", "audit", "profile"} {
		need(t, feature)
	}
	if os.Getuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "root, to give up all but some capabilities"})
	}
	exe := readableByAll(t)
	for _, tt := range []struct {
		caps []uintptr
		code int
		want string
	}{
		{nil, exitFailure, "missing CAP_BPF, CAP_PERFMON"},
		// All but dns, which asks for one more.
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, exitFailure, "works"},
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN}, 0, "works"},
	} {
		c := exec.Command(exe)
		c.Args = []string{"guanlan", "agent", "check", "--output", "json"}
		c.Dir = "/"
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: tt.caps}
		text, _ := c.Output()
		if got := c.ProcessState.ExitCode(); got != tt.code {
			t.Errorf("with %v: exit code %d, want %d", tt.caps, got, tt.code)
		}
		var found checked
		if err := json.Unmarshal(text, &found); err != nil {
			t.Fatalf("with %v: %v\n%s", tt.caps, err, text)
		}
		if len(found.Features) != 6 {
			t.Errorf("with %v: features %+v", tt.caps, found.Features)
		}
		for _, f := range found.Features {
			got := strings.TrimSpace(f.State + " " + f.Missing)
			if f.Name == "dns" && len(tt.caps) == 2 && got == "missing CAP_NET_ADMIN" {
				continue
			}
			if got != tt.want && (got != telemetry.Partly || tt.want != telemetry.Works) {
				t.Errorf("with %v: %s %s, want %s", tt.caps, f.Name, got, tt.want)
			}
		}
		for _, k := range found.Capabilities {
			if want := len(tt.caps) > 0 && (k.Name == "CAP_BPF" || k.Name == "CAP_PERFMON") || len(tt.caps) > 2 && k.Name == "CAP_NET_ADMIN"; k.Have != want {
				t.Errorf("with %v: %s held: %v", tt.caps, k.Name, k.Have)
			}
		}
	}
}

// TestAgentThatSeesNothing ends as nobody: with what is missing and what to do, and
// the server knows.
func TestAgentThatSeesNothing(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip(&kernel.Unsupported{Feature: "test", Missing: "root, to give up all capabilities"})
	}
	p := start(t, t.TempDir())
	c := exec.Command(readableByAll(t))
	c.Args = []string{"guanlan", "agent", "--endpoint", p.http}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	text, _ := c.CombinedOutput()
	if got := c.ProcessState.ExitCode(); got != exitFailure || !strings.Contains(string(text), "guanlan: nothing is watched, no feature runs: start dns: missing CAP_BPF, CAP_PERFMON\n  → ") {
		t.Errorf("exit code %d\n%s", got, text)
	}
	const expr = `count(guanlan_kernel_feature_up{job="guanlan-agent"} == 0)`
	eventually(t, expr, func() error { return p.wantSample("", expr, 5) })
}

// readableByAll copies the test binary to where nobody may run it.
func readableByAll(t *testing.T) string {
	t.Helper()
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "guanlan")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(exe); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return exe
}

// TestAuditTail follows acts in a container, from a running Guanlan and straight
// from the kernel.
func TestAuditTail(t *testing.T) {
	_, need := checking(t)
	need(t, "audit")
	p := start(t, t.TempDir(), "--kernel", "--set", "receivers::kernel::profile::enabled=false")
	procs, id := newContainer(t, 256<<20)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, flags := range map[string][]string{"running": {"--server", p.api}, "local": {"--local"}} {
		t.Run(name, func(t *testing.T) {
			out := &output{}
			c := exec.Command(exe)
			c.Args = append([]string{"guanlan", "audit", "tail", "--output", "json", "--severity", "notice", "--rule", "shell_in_container", "--container", id[:20]}, flags...)
			c.Stdout, c.Stderr = out, out
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "a line", func() error {
				if err := inContainer(t, procs, "/bin/sh -c 'sleep 0.2'"); err != nil {
					return err
				}
				if !strings.Contains(out.String(), "\n") {
					return errors.New("nothing came")
				}
				return nil
			})
			_ = c.Process.Signal(os.Interrupt)
			if err := c.Wait(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			first, _, _ := strings.Cut(out.String(), "\n")
			var line auditLine
			if err := json.Unmarshal([]byte(first), &line); err != nil {
				t.Fatalf("%v: %s", err, first)
			}
			if line.Container != id || line.Event != "kernel.audit.exec" || !strings.Contains(line.Body, "A shell started in a container") && !strings.Contains(line.Body, "from outside") {
				t.Errorf("%+v", line)
			}
		})
	}
}
