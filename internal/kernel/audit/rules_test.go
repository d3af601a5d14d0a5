package audit

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func in(e Event) Event { e.Container = strings.Repeat("ab", 32); return e }

func TestDefaultRules(t *testing.T) {
	rules := DefaultRules()
	used := map[string]bool{}
	docker := "/run/docker.sock"
	token := "/run/secrets/kubernetes.io/serviceaccount/..2026_01/token"
	for _, tt := range []struct {
		name string
		e    Event
		want []string
	}{
		{"a shell in a container", in(Event{Kind: Exec, Exe: "/usr/bin/dash", Path: "/bin/sh", Args: []string{"sh", "-c", "id"}}), []string{"shell_in_container"}},
		{"busybox called as a shell", in(Event{Kind: Exec, Exe: "/bin/busybox", Path: "/bin/sh", Args: []string{"-ash"}}), []string{"shell_in_container"}},
		{"the container's start script", in(Event{Kind: Exec, Exe: "/usr/bin/bash", NamespacePID: 1}), nil},
		{"a shell on the host", Event{Kind: Exec, Exe: "/usr/bin/bash", Terminal: true}, nil},
		{"a shell in a pid namespace", Event{Kind: Exec, Exe: "/usr/bin/bash", Level: 1}, []string{"shell_in_container"}},
		{"kubectl exec", in(Event{Kind: Exec, Exe: "/bin/bash", Terminal: true, Entered: true}), []string{"shell_in_container", "shell_with_terminal", "entered_container"}},
		{"a shell below a web server", in(Event{Kind: Exec, Exe: "/bin/sh", Ancestors: []Ancestor{{7, "php-fpm7.4"}}}), []string{"shell_in_container", "shell_from_server"}},
		{"a program in a container", in(Event{Kind: Exec, Exe: "/app/server"}), nil},

		{"write below /etc", in(Event{Kind: Open, Path: "/etc/nginx/nginx.conf", Write: true, Exe: "/bin/vi"}), []string{"write_below_etc"}},
		{"read below /etc", in(Event{Kind: Open, Path: "/etc/nginx/nginx.conf", Exe: "/bin/vi"}), nil},
		{"a package manager below /etc", in(Event{Kind: Open, Path: "/etc/alternatives/vi", Write: true, Exe: "/usr/bin/dpkg"}), nil},
		{"called like a package manager", in(Event{Kind: Open, Path: "/etc/motd", Write: true, Exe: "/tmp/x", Args: []string{"dpkg"}}), []string{"write_below_etc"}},
		{"write /etc/passwd", in(Event{Kind: Open, Path: "/etc/passwd", Write: true, Exe: "/tmp/x"}), []string{"write_below_etc", "write_accounts"}},
		{"useradd on the host", Event{Kind: Open, Path: "/etc/passwd", Write: true, Exe: "/usr/sbin/useradd"}, nil},
		{"read of hashes", in(Event{Kind: Open, Path: "/etc/shadow", Exe: "/bin/cat"}), []string{"read_passwords"}},
		{"cron", in(Event{Kind: Open, Path: "/etc/cron.d/job", Write: true, Exe: "/bin/sh"}), []string{"write_below_etc", "write_schedule"}},
		{"preload", Event{Kind: Open, Path: "/etc/ld.so.preload", Write: true}, []string{"write_preload"}},
		{"authorized keys", in(Event{Kind: Open, Path: "/home/anna/.ssh/authorized_keys", Write: true}), []string{"write_authorized_keys"}},
		{"binaries", in(Event{Kind: Open, Path: "/usr/bin/ls", Write: true, Exe: "/bin/cp"}), []string{"write_binaries"}},

		{"runtime socket", in(Event{Kind: Connect, Path: docker, Exe: "/bin/curl"}), []string{"runtime_socket"}},
		{"runtime socket from the host", Event{Kind: Connect, Path: docker, Exe: "/usr/bin/docker"}, nil},
		{"token by its service", in(Event{Kind: Open, Path: token, Exe: "/app", NamespacePID: 1}), nil},
		{"token by another", in(Event{Kind: Open, Path: token, Exe: "/app", NamespacePID: 9}), []string{"service_account_token"}},
		{"token by cat", in(Event{Kind: Open, Path: token, Exe: "/bin/cat", NamespacePID: 9}), []string{"service_account_token", "service_account_token_by_tool"}},
		{"credentials", in(Event{Kind: Open, Path: "/root/.aws/credentials", Exe: "/bin/cat"}), []string{"cloud_credentials"}},

		{"setns in a container", in(Event{Kind: Namespace, Call: "setns", Exe: "/tmp/x", Namespaces: []string{"mnt"}}), []string{"namespace_entered"}},
		{"setns by runc", Event{Kind: Namespace, Call: "setns", Exe: "/usr/bin/runc"}, nil},
		{"setns on the host", Event{Kind: Namespace, Call: "setns", Exe: "/tmp/x"}, []string{"namespace_of_host"}},
		{"disk mounted", in(Event{Kind: Mount, Source: "/dev/sda1", Path: "/mnt", FSType: "ext4"}), []string{"host_mount", "mount_in_container"}},
		{"tmpfs mounted", in(Event{Kind: Mount, Source: "tmpfs", Path: "/mnt", FSType: "tmpfs"}), []string{"mount_in_container"}},
		{"mount on the host", Event{Kind: Mount, Source: "/dev/sda1", Path: "/mnt"}, nil},
		{"core pattern", in(Event{Kind: Open, Path: "/proc/sys/kernel/core_pattern", Write: true}), []string{"escape_by_kernel_file"}},
		{"release agent", in(Event{Kind: Open, Path: "/sys/fs/cgroup/rdma/x/release_agent", Write: true}), []string{"escape_by_kernel_file"}},
		{"memory of a process", in(Event{Kind: Open, Path: "/proc/12/mem", Write: true}), []string{"memory_of_other"}},
		{"disk opened", in(Event{Kind: Open, Path: "/dev/nvme0n1"}), []string{"raw_device"}},

		{"ptrace in a container", in(Event{Kind: Ptrace, Call: "ptrace", Exe: "/usr/bin/gdb", Detail: "attach"}), []string{"ptrace_of_other"}},
		{"debugger on the host", Event{Kind: Ptrace, Call: "ptrace", Exe: "/usr/bin/gdb", Detail: "attach"}, nil},
		{"bpf in a container", in(Event{Kind: BPF, Exe: "/tmp/x"}), []string{"bpf_in_container"}},
		{"bpf on the host", Event{Kind: BPF, Exe: "/tmp/x"}, []string{"bpf_on_host"}},
		{"module in a container", in(Event{Kind: Module, Exe: "/usr/bin/kmod"}), []string{"kernel_module_in_container"}},
		{"module on the host", Event{Kind: Module, Exe: "/tmp/x"}, []string{"kernel_module"}},
		{"module by modprobe", Event{Kind: Module, Exe: "/usr/bin/kmod"}, nil},
		{"io_uring", in(Event{Kind: URing, Exe: "/tmp/x"}), []string{"io_uring_in_container"}},

		{"memfd", Event{Kind: Exec, Exe: "/memfd:x", Unlinked: true}, []string{"fileless_program"}},
		{"memfd of runc", Event{Kind: Exec, Exe: "/memfd:runc_cloned", Unlinked: true, Ancestors: []Ancestor{{7, "runc"}}}, nil},
		{"memfd of a child of runc", Event{Kind: Exec, Exe: "/memfd:y", Unlinked: true, Level: 1, Entered: true, Ancestors: []Ancestor{{7, "runc"}}}, []string{"entered_container"}},
		{"memfd of one that calls itself runc", in(Event{Kind: Exec, Exe: "/memfd:x", Unlinked: true, Level: 1, Ancestors: []Ancestor{{7, "runc"}}}), []string{"fileless_program"}},
		{"from /dev/shm", in(Event{Kind: Exec, Exe: "/dev/shm/a/b"}), []string{"program_from_temporary_folder"}},
		{"miner", Event{Kind: Exec, Exe: "/opt/xmrig-6.2"}, []string{"crypto_miner"}},
		{"miner under another name", in(Event{Kind: Exec, Exe: "/app/nginx", Args: []string{"nginx", "-o", "stratum+tcp://pool:3333"}}), []string{"crypto_miner_habits"}},
		{"huge pages", in(Event{Kind: Open, Path: "/proc/sys/vm/nr_hugepages", Write: true}), []string{"crypto_miner_pages"}},
		{"a fork", in(Event{Kind: Fork}), nil},
		{"a loss", Event{Kind: Lost, Lost: 5}, nil},
	} {
		var got []string
		for _, f := range rules.Findings(&tt.e) {
			got = append(got, f.Rule)
			used[f.Rule] = true
			if f.Severity == 0 || f.Technique == "" || f.Title == "" {
				t.Errorf("%s: finding %+v lacks something", tt.name, f)
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, d)
		}
		// The kernel must let pass what a rule wants.
		if (tt.e.Kind == Open || tt.e.Kind == Connect) && len(got) > 0 && !rules.interest(&tt.e) {
			t.Errorf("%s: user space would drop %s", tt.name, tt.e.Path)
		}
		if (tt.e.Kind == Open || tt.e.Kind == Connect) && len(got) > 0 && !rules.tree.of(tt.e.Path, tt.e.Write || tt.e.Kind == Connect) {
			t.Errorf("%s: the kernel would drop %s", tt.name, tt.e.Path)
		}
	}
	for _, r := range rules.All() {
		if !used[r.ID] {
			t.Errorf("no example meets rule %s", r.ID)
		}
	}
}

func TestOwnRules(t *testing.T) {
	own := []byte(`version: 1
lists: {shells: [nushell]}
rules:
  - id: host_mount
    title: Any mount
    severity: info
    attack: T1611
    on: mount
allow:
  - rule: shell_in_container
    reason: the batch image runs scripts
    image: "registry.example/batch:*"
disable: mount_in_container
`)
	rules, err := ParseRules(Builtin(), own)
	if err != nil {
		t.Fatal(err)
	}
	ids := func(e Event) (out []string) {
		for _, f := range rules.Findings(&e) {
			out = append(out, f.Rule)
		}
		return out
	}
	for _, tt := range []struct {
		e    Event
		want []string
	}{
		{in(Event{Kind: Exec, Exe: "/bin/sh"}), nil}, // the list was replaced
		{in(Event{Kind: Exec, Exe: "/bin/nushell"}), []string{"shell_in_container"}},
		{in(Event{Kind: Exec, Exe: "/bin/nushell", Image: "registry.example/batch:7"}), nil},
		{Event{Kind: Mount, Source: "x"}, []string{"host_mount"}},
	} {
		if d := cmp.Diff(tt.want, ids(tt.e)); d != "" {
			t.Errorf("%+v (-want +got):\n%s", tt.e, d)
		}
	}
	// Which file a rule is from, and which were taken away.
	from := func(all []*Rule, id string) int {
		at := slices.IndexFunc(all, func(r *Rule) bool { return r.ID == id })
		if at < 0 {
			return -1
		}
		return all[at].File
	}
	if a, b, c, d := from(rules.All(), "shell_in_container"), from(rules.All(), "host_mount"), from(rules.All(), "mount_in_container"), from(rules.Disabled(), "mount_in_container"); a != 0 || b != 1 || c != -1 || d != 0 {
		t.Errorf("files of rules: %d %d %d %d", a, b, c, d)
	}
	if rules, err = ParseRules(Builtin(), own, []byte("version: 1\nrules:\n  - {id: mount_in_container, title: Again, severity: info, attack: T1611, on: mount}\n")); err != nil || len(rules.Disabled()) != 0 || from(rules.All(), "mount_in_container") != 2 {
		t.Errorf("a rule that came back: %v, %v", rules.Disabled(), err)
	}
}

func TestRefusedRules(t *testing.T) {
	rule := func(more string) string {
		return "version: 1\nrules:\n  - {id: x, title: x, severity: info, attack: T1000, " + more + "}\n"
	}
	for text, want := range map[string]string{
		"":                                      "version 0",
		"version: 2":                            "version 2",
		"version: 1\nrule: []":                  "not found",
		rule("on: exec, exes: [a]"):             "not found",
		rule("on: nothing"):                     "no such kind",
		rule("on: lost"):                        "no such kind",
		rule("on: [exec, exec]"):                "twice",
		rule("exe: a"):                          "kind of event is needed",
		rule("on: open"):                        "needs a path",
		rule("on: open, path: etc/passwd"):      "absolute",
		rule("on: open, path: /"):               "absolute",
		rule("on: open, path: /**"):             "every file",
		rule(`on: open, path: "/*/x"`):          "every file",
		rule("on: open, path: /a/../b"):         "relative",
		rule("on: exec, exe: $none"):            "no such list",
		rule(`on: exec, exe: ""`):               "empty text",
		rule("on: exec, in: pod"):               "want container or host",
		rule("on: exec, unless: [{}]"):          "allow everything",
		rule("on: namespace, namespace: mount"): "no such type",
		"version: 1\nlists: {a: $b, b: $a}\nrules:\n  - {id: x, title: x, severity: info, attack: T1000, on: exec, exe: $a}": "nested",
		"version: 1\nallow: [{rule: none, exe: a}]":                                         "not there",
		"version: 1\nallow: [{exe: a}]":                                                     "names no rule",
		"version: 1\nallow: [{rule: '*'}]":                                                  "without a condition",
		"version: 1\ndisable: none":                                                         "not there",
		"version: 1\nrules: [{id: x, title: x, severity: high, attack: T1000, on: exec}]":   "severity",
		"version: 1\nrules: [{id: x, title: x, severity: info, attack: T1, on: exec}]":      "attack",
		"version: 1\nrules: [{id: a b, title: x, severity: info, attack: T1000, on: exec}]": "id without",
		"version: 1\nrules: [null]":                                                         "empty rule",
	} {
		if _, err := ParseRules([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRules(%q) = %v, want …%s…", text, err, want)
		}
	}
}

// The glob is what a regular expression says.
func TestGlob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`([ab/*]|\*\*){0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab/]{0,10}`).Draw(t, "text")
		re := strings.NewReplacer("**", ".*", "*", "[^/]*").Replace(p)
		if got, want := glob(p, s), regexp.MustCompile("^(?:"+re+")$").MatchString(s); got != want {
			t.Fatalf("glob(%q, %q) = %v, want %v", p, s, got, want)
		}
	})
}

// What a pattern says, the tree accepts, also where patterns overlap.
func TestTreeAcceptsWhatPatternsSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"a", "b", "c*", "abc*", "*", "long-name-of-more-than-twenty-six-bytes"})
		var patterns []watchedPath
		for range rapid.IntRange(1, 8).Draw(t, "patterns") {
			p := "/" + rapid.SampledFrom([]string{"a", "b"}).Draw(t, "top")
			for _, n := range rapid.SliceOfN(name, 0, 4).Draw(t, "names") {
				p += "/" + n
			}
			if rapid.Bool().Draw(t, "below") {
				p += "/**"
			}
			patterns = append(patterns, watchedPath{p, rapid.Bool().Draw(t, "write")})
		}
		tr, err := compileTree(patterns)
		if err != nil {
			t.Fatal(err)
		}
		at := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "cc", "d", "abcd", "abx", "abc", "long-name-of-more-than-twenty-six-bytes"}), 1, 6)
		path := "/" + strings.Join(at.Draw(t, "path"), "/")
		write := rapid.Bool().Draw(t, "writing")
		wanted := slices.ContainsFunc(patterns, func(p watchedPath) bool {
			return (write || !p.writeOnly) && glob(p.pattern, path)
		})
		if wanted && !tr.of(path, write) {
			t.Fatalf("%v: the tree drops %s (write %v): %v", patterns, path, write, tr.sorted())
		}
	})
}

func FuzzRules(f *testing.F) {
	f.Add(builtin)
	f.Add([]byte("version: 1\nlists: {a: [b]}\nrules: [{id: x, title: x, severity: info, attack: T1000, on: open, path: [/a/*/b]}]\nallow: [{rule: x, exe: $a}]"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRules(b)
		if err != nil {
			return
		}
		for k := Exec; k <= Lost; k++ {
			e := in(Event{Kind: k, Exe: "/bin/sh", Path: "/etc/passwd", Args: []string{"a"}})
			r.Findings(&e)
		}
		r.tree.of("/etc/passwd", true)
	})
}

func BenchmarkFindings(b *testing.B) {
	rules := DefaultRules()
	e := in(Event{Kind: Open, Path: "/etc/nginx/nginx.conf", Write: true, Exe: "/usr/bin/dpkg", Args: []string{"dpkg", "-i", "x"}})
	for b.Loop() {
		rules.Findings(&e)
	}
}
