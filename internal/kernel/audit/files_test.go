//go:build linux

package audit

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guanlan-io/guanlan/internal/kernel"
)

func TestFilesAreJudgedByWhereTheyLie(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add})
	cgroup, _ := newContainer(t, h)
	dir := t.TempDir()
	pid := play(t, "files", dir, cgroup, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.of(pid) {
		if e.Kind != Open && e.Kind != Mount && e.Kind != Namespace || e.Container == "" {
			continue
		}
		s := e.Call + " " + e.Source + ":" + e.Path + " " + e.FSType
		for _, b := range []struct {
			on   bool
			name string
		}{{e.Write, "write"}, {e.Created, "created"}, {e.Denied(), "denied"}} {
			if b.on {
				s += " " + b.name
			}
		}
		for _, f := range e.Findings {
			s += " !" + f.Rule
		}
		got = append(got, strings.ReplaceAll(strings.Join(append(strings.Fields(s), e.Namespaces...), " "), dir, "DIR"))
	}
	want := []string{
		"unshare : !namespace_entered mnt",
		"mount :/ !mount_in_container",
		"mount tmpfs:DIR tmpfs !mount_in_container",
		"openat :/etc/passwd write created !write_below_etc !write_accounts",
		"openat :/etc/passwd write !write_below_etc !write_accounts",
		"openat :/etc/app/conf write created !write_below_etc",
		"openat :/run/secrets/kubernetes.io/serviceaccount/..data/token !service_account_token",
		"openat2 :/etc/shadow write created !write_below_etc !write_accounts",
		"mount :/ !mount_in_container",
		"openat :/etc/passwd write denied !write_below_etc !write_accounts",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// The program is the one that acted, not the one that the process has become since.
func TestActIsOfTheProgramThatDidIt(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/secret", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rules, err := ParseRules([]byte("version: 1\nrules: [{id: s, title: x, severity: info, attack: T1552, on: open, path: " + dir + "/secret, unless: [{exe: [\"true\", coreutils]}]}]"))
	if err != nil {
		t.Fatal(err)
	}
	var l log
	f := start(t, h, Options{OnEvent: l.add, Rules: rules, Every: time.Hour}) // read when all is over
	cgroup, _ := newContainer(t, h)
	pid := play(t, "then", dir, cgroup, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(l.of(pid), func(e Event) bool { return e.Kind == Open })
	if i < 0 {
		t.Fatal("no open")
	}
	if e := l.of(pid)[i]; e.Exe != own || len(e.Findings) != 1 {
		t.Errorf("opened by %q, want %q; findings %v", e.Exe, own, e.Findings)
	}
}

// A container's process may take another root: what it opens keeps its name.
func TestChrootHidesNoFile(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	var l log
	f := start(t, h, Options{OnEvent: l.add})
	cgroup, _ := newContainer(t, h)
	pid := play(t, "chroot", t.TempDir(), cgroup, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.of(pid) {
		if e.Kind == Open && e.Container != "" {
			got = append(got, e.Path)
		}
	}
	if want := []string{"/etc/passwd", "/etc/of-no-rule/x"}; !slices.Equal(got, want) {
		t.Errorf("opened %q, want %q", got, want)
	}
}

func TestSocketIsKnownByItsServersName(t *testing.T) {
	h := kernel.NewHost(kernel.Options{})
	dir, err := os.MkdirTemp("", "kaudit") // a short path
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, name := range []string{"runtime.sock", "other.sock"} {
		s, err := net.Listen("unix", filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	if err := os.Symlink("runtime.sock", filepath.Join(dir, "another-name.sock")); err != nil {
		t.Fatal(err)
	}
	rules, err := ParseRules([]byte("version: 1\nrules: [{id: rt, title: x, severity: critical, attack: T1611, on: connect, path: " + dir + "/runtime.sock}]"))
	if err != nil {
		t.Fatal(err)
	}
	var l log
	f := start(t, h, Options{OnEvent: l.add, Rules: rules})
	cgroup, _ := newContainer(t, h)
	pid := play(t, "socket", dir, cgroup, nil)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range l.of(pid) {
		if e.Kind == Connect {
			got = append(got, e.Path)
			if len(e.Findings) != 1 {
				t.Errorf("findings %+v", e.Findings)
			}
		}
	}
	if want := []string{dir + "/runtime.sock"}; !slices.Equal(got, want) {
		t.Errorf("connects %q, want %q", got, want)
	}
}

func secretRules(t testing.TB, dir string) *Rules {
	t.Helper()
	r, err := ParseRules([]byte("version: 1\nrules: [{id: secret, title: x, severity: info, attack: T1552, on: open, path: " + dir + "/secret}]"))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
