//go:build linux && (amd64 || arm64)

package attach

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/kerneltest"
)

// Each version of go-redis, with a real server.
func TestRedis(t *testing.T) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip(&kernel.Unsupported{Feature: "this test", Missing: "redis-server", Err: err})
	}
	server := redisServer(t)
	for _, module := range []string{
		"github.com/go-redis/redis v6.15.9+incompatible", "github.com/go-redis/redis/v7 v7.4.1", "github.com/go-redis/redis/v8 v8.11.5",
		"github.com/redis/go-redis/v9 v9.0.5", "github.com/redis/go-redis/v9 v9.23.0",
	} {
		t.Run(module, func(t *testing.T) {
			tx := "PIPELINE 4" // with MULTI and EXEC
			if strings.Contains(module, " v6") {
				tx = "PIPELINE 2"
			}
			testRedis(t, buildRedis(t, module, "-ldflags=-s -w"), server, tx)
		})
	}
}

func testRedis(t *testing.T, exe, server, tx string) {
	t.Helper()
	s := run(t, exe, server)
	c := attachTo(t, Options{Targets: []Target{{PID: s.Process.Pid}}})
	for _, p := range c.processes() {
		for _, l := range p.Libraries {
			if len(l.Missing) > 0 || l.Name == "go-redis" && len(l.Without) > 0 {
				t.Errorf("%s %s: missing %q, without %q", l.Name, l.Version, l.Missing, l.Without)
			}
		}
	}
	for _, call := range []struct{ path, want string }{ // in this order: the key of /wrong and /pipe is that of /set
		{"/set", "SET 1"}, {"/none", "GET 1"}, {"/wrong", "LPUSH 1 failed"}, {"/pipe", "PIPELINE 3"}, {"/tx", tx},
		{"/pipe-none", "PIPELINE 2"},
	} {
		path, want := call.path, []string{call.want}
		get(t, "http://"+s.addr+path)
		root := c.wait(t, path, at(HTTPServer, path))
		var got []string
		for _, s := range c.where(func(s Span) bool { return s.Kind == Redis && s.Parent == root.ID }) {
			said := fmt.Sprintf("%s %d", s.Method, s.Batch)
			if s.Error != "" {
				said += " failed"
			}
			got = append(got, said)
			if s.Host != server || s.Trace != root.Trace {
				t.Errorf("%+v", s)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", path, diff)
		}
	}
	if st := c.f.Stats(); st.Dropped != 0 {
		t.Errorf("dropped: %v", c.f.object.Losses())
	}
}

// redisServer runs one that keeps nothing.
func redisServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_ = l.Close()
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	kerneltest.Until(t, "redis-server to listen", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return addr
}

// buildRedis builds testdata/redis with another version of go-redis, which only continuous
// integration fetches.
func buildRedis(t *testing.T, module, flags string) string {
	t.Helper()
	path, version, _ := strings.Cut(module, " ")
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/redis/main.go")
	if err != nil {
		t.Fatal(err)
	}
	source := strings.ReplaceAll(string(text), `"github.com/redis/go-redis/v9"`, `"`+path+`"`)
	if strings.HasPrefix(version, "v6") || strings.HasPrefix(version, "v7") { // they know no contexts
		source = strings.NewReplacer("(ctx, ", "(", "(ctx)", "()", "ctx context.Context", "context.Context").Replace(source)
	}
	for name, b := range map[string]string{"main.go": source, "go.mod": "module redis\n\ngo 1.26\n\nrequire " + module + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(b), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	exe := filepath.Join(dir, "service")
	cmd := exec.Command("go", "build", "-mod=mod", "-o", exe, flags, ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GONOSUMDB=*", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0")
	if os.Getenv("CI") != "true" {
		cmd.Env = append(cmd.Env, "GOPROXY=off")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		if strings.Contains(string(out), "GOPROXY=off") {
			t.Skip(&kernel.Unsupported{Feature: "this test", Missing: module, Next: "go get " + path + "@" + version + " in a module of its own fetches it"})
		}
		t.Fatalf("%v\n%s", err, out)
	}
	return exe
}
