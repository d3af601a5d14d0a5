//go:build linux && (amd64 || arm64)

package attach

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Before Linux 6.6 each probe is an event of its own.
func TestWithoutUprobeMulti(t *testing.T) {
	s := run(t, build(t))
	c := attachBy(t, Options{Targets: []Target{{PID: s.Process.Pid}}}, true)
	for _, p := range c.processes() {
		t.Logf("attached in %v: %v", p.Took, p.Err)
	}
	get(t, "http://"+s.addr+"/sql")
	server := c.wait(t, "the server", at(HTTPServer, "/sql"))
	if q := c.wait(t, "a query", at(SQL, "BROKEN")); q.Parent != server.ID {
		t.Errorf("query %+v", q)
	}
	begin := time.Now()
	if err := c.f.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("detached in %v", time.Since(begin))
}

// Without symbols and debugging data, position independent, and built with
// other versions of Go: all is as with the plain program.
func TestBuilds(t *testing.T) {
	for _, flags := range [][]string{{"-ldflags=-s -w"}, {"-buildmode=pie"}, {"-buildmode=pie", "-ldflags=-s -w"}, {"-trimpath", "-ldflags=-s -w", "-gcflags=all=-N -l"}} {
		t.Run(strings.Join(flags, " "), func(t *testing.T) { testBuild(t, build(t, flags...), 26) })
	}
}

func TestVersions(t *testing.T) {
	if testing.Short() {
		t.Skip("each version builds its standard library first")
	}
	out, err := exec.Command("go", "env", "GOMODCACHE", "GOHOSTARCH").Output()
	if err != nil {
		t.Fatal(err)
	}
	env := strings.Fields(string(out))
	for _, v := range []string{"1.18.10", "1.19.13", "1.20.14", "1.21.13", "1.22.12", "1.23.12", "1.24.9", "1.25.5", "1.27.0"} {
		root := filepath.Join(env[0], "golang.org", "toolchain@v0.0.1-go"+v+".linux-"+env[1])
		if _, err := os.Stat(root); err != nil {
			t.Logf("Go %s is not at hand: GOTOOLCHAIN=go%s go version fetches it", v, v)
			continue
		}
		t.Run(v, func(t *testing.T) { testBuild(t, buildWith(t, root, "-ldflags=-s -w"), goMinor("go"+v)) })
	}
}

// buildWith compiles the program with another toolchain.
func buildWith(t *testing.T, root string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	text, err := os.ReadFile("testdata/service/main.go")
	if err != nil {
		t.Fatal(err)
	}
	minor := goMinor("go" + strings.SplitN(filepath.Base(root), "-go", 2)[1])
	for name, b := range map[string][]byte{"main.go": text, "go.mod": fmt.Appendf(nil, "module service\n\ngo 1.%d\n", minor)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// Some releases take a folder of the module cache for a module when it is their GOROOT.
	link, exe := filepath.Join(dir, "goroot"), filepath.Join(dir, "service")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(link, "bin/go"), append(append([]string{"build", "-o", exe}, flags...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN=local", "GOROOT="+link, "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return exe
}

func testBuild(t *testing.T, exe string, minor int) {
	a, b := run(t, exe), run(t, exe)
	c := attachTo(t, Options{Targets: []Target{{PID: a.Process.Pid}, {PID: b.Process.Pid}}})
	for _, p := range c.processes() {
		if p.Err != nil {
			t.Fatalf("attached in %v: %v; %+v", p.Took, p.Err, p.Libraries)
		}
		for _, l := range p.Libraries {
			if len(l.Missing) > 0 || len(l.Without) > 0 && minor >= 22 {
				t.Errorf("%s: missing %q, without %q", l.Name, l.Missing, l.Without)
			}
		}
	}
	get(t, "http://"+a.addr+"/spawn?to=http://"+b.addr+"/items/1", "traceparent", traceparent)
	server := c.wait(t, "the server", at(HTTPServer, "/spawn"))
	sent := c.wait(t, "the client", at(HTTPClient, "/items/1"))
	far := c.wait(t, "the second server", at(HTTPServer, "/items/1"))
	if got := fmt.Sprintf("00-%x-%x-01", server.Trace, server.Parent); got != traceparent || server.Status != 201 || server.Method != "GET" {
		t.Errorf("server %+v, parent %s", server, got)
	}
	if sent.Parent != server.ID || sent.Status != 201 || far.Parent != sent.ID || far.Trace != server.Trace || far.Status != 201 {
		t.Errorf("client %+v\nsecond server %+v", sent, far)
	}
	if minor >= 22 && far.Route != "GET /items/{id}" {
		t.Errorf("route %q", far.Route)
	}
	get(t, "http://"+a.addr+"/sql")
	server = c.wait(t, "the queries' server", at(HTTPServer, "/sql"))
	if q := c.wait(t, "a query", at(SQL, "BROKEN")); q.Parent != server.ID || q.Error != "*main.toyError" {
		t.Errorf("query %+v", q)
	}
	get(t, "http://"+a.addr+"/call?to=https://"+b.tls+"/items/h2")
	sent = c.wait(t, "HTTP/2's client", at(HTTPClient, "/items/h2"))
	h2 := c.wait(t, "HTTP/2", at(HTTPServer, "/items/h2"))
	if h2.Flags&HTTP2 == 0 || h2.Status != 201 || h2.Parent != sent.ID || h2.Flags&Correlated == 0 {
		t.Errorf("HTTP/2: %+v of %+v", h2, sent)
	}
	if st := c.f.Stats(); st.Dropped != 0 {
		t.Errorf("dropped: %v", c.f.object.Losses())
	}
}
