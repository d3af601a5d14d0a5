//go:build linux

package vm

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// wantedVariable says what to run: "" nothing, "some" what fits into continuous
// integration, "all" everything, or else guests and variants whose names contain it.
const wantedVariable = "GUANLAN_KERNELS"

// onlyVariable narrows that to one task and some of its tests, by a regular
// expression behind a dot as in "tcp.TestRetransmits": for work on one test.
const onlyVariable = "GUANLAN_KERNELS_ONLY"

// guests are the kernels, with the variant that continuous integration has minutes
// for: tests on the oldest, which has the least, and whether all loads on the others.
var guests = []struct{ name, suite, arch, some string }{
	{"5.10", "bullseye", "amd64", "some"},
	{"6.1", "bookworm", "amd64", "check"},
	{"6.12", "trixie", "amd64", "check"},
	{"6.1", "bookworm", "arm64", "some attach"},
}

// variants are the ways in which each kernel is booted.
var variants = []struct {
	name    string
	command string
	plan    Plan
	tasks   []string // of tests, with check before them
	not     string   // a guest that has no use for it
}{
	{name: "check"},
	{name: "some", tasks: []string{"tcp some", "oom", "audit some"}},
	{name: "some attach", tasks: []string{"attach some"}},
	{name: "tests", tasks: []string{"kernel", "tcp", "dns", "oom", "audit", "profile", "symbol"}},
	{name: "attach", tasks: []string{"attach", "shop", "releases"}, not: "5.10"},
	{name: "inject", tasks: []string{"inject"}},
	{name: "builds", tasks: []string{"builds"}, not: "5.10"},
	{name: "no sysfs", plan: Plan{Hide: []Hidden{NoSys}}},
	{name: "no BTF", plan: Plan{Hide: []Hidden{NoBTF}}},
	{name: "no tracefs", plan: Plan{Hide: []Hidden{NoTracefs}}},
	{name: "v1", plan: Plan{Cgroups: Legacy}, tasks: []string{"oom"}},
	{name: "hybrid", plan: Plan{Cgroups: Hybrid}, tasks: []string{"oom"}},
	{name: "lockdown", command: "lsm=lockdown lockdown=integrity", tasks: []string{"refused"}},
	{name: "confidential", command: "lsm=lockdown lockdown=confidentiality"},
}

// tests are the binaries: packages of internal/kernel, and which of their tests. A
// quiet machine takes a tenth of the time; what hangs must not take the others with it.
var tests = map[string]struct {
	pkg, run string
	deadline time.Duration
}{
	"kernel":  {"", ".", time.Hour},
	"tcp":     {"tcp", ".", time.Hour},
	"dns":     {"dns", ".", time.Hour},
	"oom":     {"oom", ".", time.Hour},
	"audit":   {"audit", ".", time.Hour},
	"profile": {"profile", ".", time.Hour},
	"symbol":  {"symbol", ".", time.Hour},
	"attach":  {"attach", ".", time.Hour},
	"inject":  {"attach", "^TestInject[A-Z]", time.Hour},
	"builds":  {"attach", "^TestInjectBuilds$", time.Hour},
	"refused": {"attach", "^TestInjectionRefused$", 20 * time.Minute},
	// What attach leaves out (notHere).
	"shop":     {"attach", "^TestShop$", 20 * time.Minute},
	"releases": {"attach", "^TestVersions$", time.Hour},
	// One test or two of each, for continuous integration.
	"tcp some":   {"tcp", "^(TestRetransmitsAreCountedOneByOne|TestMorePeersThanRoom)$", 20 * time.Minute},
	"audit some": {"audit", "^(TestExecOfAShellInAContainer|TestTamperingWithTheKernelAndOthers)$", 20 * time.Minute},
	// Most of what attach does, of the program that hides most.
	"attach some": {"attach", "^(TestBuilds|TestGRPC)$/^(-buildmode=pie_-ldflags=-s_-w|tls)$", 20 * time.Minute},
}

// fewer are the programs that a task of a few tests needs, by name and flags.
var fewer = map[string]*regexp.Regexp{
	"attach some": regexp.MustCompile("^(service -buildmode=pie -ldflags=-s -w|rpc .*)$"),
	"shop":        regexp.MustCompile("^examples/"),
}

// notHere are tests that a guest has no use for, or that want what an initramfs
// lacks, such as a root that may be exchanged.
const notHere = "^(TestCost|TestCostAtATime|TestRedis|TestShop|TestVersions|TestObjectsAreWhatTheSourcesGive|TestC|TestManyConnections|TestChrootHidesNoFile)$"

// program is one that tests build, which a guest cannot: of a package's testdata, or of a
// module of the repository, by its folder.
type program struct {
	pkg, name string
	goarch    string
	flags     []string
}

var programs = []program{
	{"profile", "burn", "", nil},
	{"profile", "burn", "", []string{"-ldflags=-s -w"}},
	{"profile", "burn", "", []string{"-buildmode=pie"}},
	{"profile", "burn", "", []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{"profile", "block", "", []string{"-ldflags=-s -w"}},
	{"profile", "block", "", nil},
	{"profile", "label", "", []string{"-ldflags=-s -w"}},
	{"profile", "label", "", []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{"symbol", "self", "", nil},
	{"symbol", "self", "", []string{"-ldflags=-s -w"}},
	{"symbol", "self", "", []string{"-ldflags=-buildid=redacted"}},
	{"symbol", "self", "", []string{"-ldflags=-buildid=redacted -X main.x=y -s -w"}},
	{"symbol", "self", "", []string{"-buildmode=pie"}},
	{"symbol", "self", "", []string{"-buildmode=pie", "-trimpath"}},
	{"symbol", "self", "", []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{"audit", "old", "386", nil},
	{"attach", "service", "", nil},
	{"attach", "service", "", []string{"-ldflags=-s -w"}},
	{"attach", "service", "", []string{"-buildmode=pie"}},
	{"attach", "service", "", []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{"attach", "service", "", []string{"-trimpath", "-ldflags=-s -w", "-gcflags=all=-N -l"}},
	{"attach", "h2c", "", nil},
	{"attach", "h2c", "", []string{"-ldflags=-s -w"}},
	{"attach", "server", "", nil},
	{"attach", "rpc", "", []string{"-ldflags=-s -w"}},
	{"attach", "storm", "", nil},
	{"attach", "storm", "", []string{"-ldflags=-s -w"}},
	{"attach", "storm", "", []string{"-buildmode=pie", "-ldflags=-s -w"}},
	{"attach", "storm", "", []string{"-tags=xnet"}},
	{"attach", "storm", "", []string{"-tags=xnet", "-ldflags=-s -w"}},
	{"attach", "examples/shop", "", []string{"-ldflags=-s -w"}},
	{"attach", "examples/woven/shop", "", []string{"-ldflags=-s -w"}},
	{"attach", "rpcstorm", "", nil},
	{"attach", "rpcstorm", "", []string{"-ldflags=-s -w"}},
	{"attach", "rpcstorm", "", []string{"-buildmode=pie", "-ldflags=-s -w"}},
}

const (
	host    = ".." // where internal/kernel lies, as tests of this package see it
	root    = "../../.."
	product = "../../../bin/guanlan"
)

// TestKernels boots the matrix.
func TestKernels(t *testing.T) {
	choice := os.Getenv(wantedVariable)
	if choice == "" {
		t.Skip("boots other kernels, for minutes: make kernels")
	}
	for _, tool := range []string{"qemu-system-x86_64", "qemu-system-aarch64", "apt-get", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal(err)
			}
			t.Skipf("other kernels: %s is not installed", tool)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]*build{}
	for _, g := range guests {
		for _, v := range variants {
			if v.not == g.name {
				continue
			}
			name := g.name + " " + g.arch + " " + v.name
			switch choice {
			case "all":
				if v.name == "some" || v.name == "some attach" || v.name == "check" {
					continue
				}
			case "some":
				if v.name != g.some {
					continue
				}
			default:
				part := v.name == "check" || strings.HasPrefix(v.name, "some") // of another variant
				if !strings.Contains(name, choice) || part && !strings.Contains(choice, v.name) {
					continue
				}
			}
			t.Run(name, func(t *testing.T) {
				dir := filepath.Join(cache, "guanlan", "kernels")
				k, err := Fetch(t.Context(), dir, g.name, g.suite, g.arch)
				if err != nil {
					t.Fatal(err)
				}
				b := built[g.arch]
				if b == nil {
					b = newBuild(t, g.arch)
					if b.loader, err = FetchLoader(t.Context(), dir, g.arch); err != nil {
						t.Fatal(err)
					}
					b.kvm = (&Machine{Kernel: k, Memory: memory, Init: b.guest}).Virtualizes(t.Context())
					built[g.arch] = b
				}
				boot(t, k, b, v.command, v.plan, v.tasks, name)
			})
		}
	}
}

// memory of a guest, in MiB.
const memory = 3072

func boot(t *testing.T, k Kernel, b *build, command string, plan Plan, tasks []string, name string) {
	m := Machine{Kernel: k, Command: command, Memory: memory, Init: b.guest, Plan: plan, KVM: b.kvm,
		Files: map[string]string{"/bin/sh": b.tools["sh"], "/bin/true": b.tools["true"], "/bin/sleep": b.tools["sleep"],
			"/usr/local/go/bin/go": b.tools["go"], "/bin/check": b.tools["check"]},
		Texts: map[string]string{GoEnvFile: b.goEnv(t)},
	}
	if os.Getenv("GUANLAN_KERNELS_LIVE") != "" {
		m.Live = os.Stdout
	}
	for _, name := range modules {
		file, err := k.Module(name)
		if err != nil {
			t.Fatal(err)
		}
		at := path.Join("/modules", filepath.Base(file))
		m.Files[at] = file
		m.Plan.Modules = append(slices.Clone(m.Plan.Modules), at)
	}
	m.Plan.Tasks = []Task{{Name: "check", Dir: "/", Args: []string{"/bin/check"}, Deadline: 30 * time.Minute}}
	only, run, _ := strings.Cut(os.Getenv(onlyVariable), ".")
	for _, task := range tasks {
		if only == "" || only == task {
			b.add(t, &m, task, cmp.Or(run, tests[task].run))
		}
	}
	m.Files[Loaders[b.arch]] = b.loader
	// The product itself, where make build has made it for this architecture.
	if _, err := os.Stat(product); err == nil && b.arch == runtime.GOARCH && len(tasks) > 0 {
		m.Files["/bin/guanlan"] = product
		m.Plan.Tasks = append(m.Plan.Tasks, Task{Name: "agent", Dir: "/", Args: []string{"/bin/guanlan", "agent", "check"}, Deadline: 30 * time.Minute})
	}
	began := time.Now()
	results, err := m.Boot(t.Context())
	t.Logf("%s: %v in all", k.Release, time.Since(began).Round(time.Second))
	if err != nil {
		t.Error(err)
	}
	for _, r := range results {
		if r.Name == "check" {
			t.Run("check", func(t *testing.T) { checked(t, r, name) })
			continue
		}
		if r.Name == "agent" {
			if r.Code != 0 {
				t.Errorf("guanlan agent check: exit code %d\n%s", r.Code, r.Output)
			}
			continue
		}
		t.Run(r.Name, func(t *testing.T) { judge(t, r, name) })
	}
}

// checked compares what the features said with the table.
func checked(t *testing.T, r Result, name string) {
	if r.Code != 0 {
		t.Fatalf("exit code %d\n%s", r.Code, r.Output)
	}
	got := strings.Split(strings.TrimSpace(r.Output), "\n")
	if diff := gocmp.Diff(answersOf(name), got); diff != "" {
		t.Errorf("what can be watched (-want +got):\n%s", diff)
	}
}

var outcome = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): (\S+) \(([\d.]+)s\)`)

// ran says whether a test was among those that were asked for.
func ran(output, test string) bool {
	return strings.Contains(output, "=== RUN   "+test+"\n")
}

// judge lets tests be skipped only where the table says so.
func judge(t *testing.T, r Result, name string) {
	counts := map[string]int{}
	var skipped []string
	for _, m := range outcome.FindAllStringSubmatch(r.Output, -1) {
		counts[m[1]]++
		if m[1] == "SKIP" {
			skipped = append(skipped, strings.TrimSuffix(r.Name, "-some")+"."+m[2])
		}
	}
	t.Logf("%v in %v", counts, r.Took.Round(time.Second))
	if r.Code != 0 || counts["PASS"]+counts["SKIP"] == 0 {
		t.Errorf("exit code %d\n%s", r.Code, r.Output)
	}
	var want []string
	for _, s := range skipsOf(name) {
		pkg, test, _ := strings.Cut(s, ".")
		if pkg == strings.TrimSuffix(r.Name, "-some") && ran(r.Output, test) {
			want = append(want, s)
		}
	}
	slices.Sort(skipped)
	slices.Sort(want)
	if diff := gocmp.Diff(want, skipped); diff != "" {
		t.Errorf("skipped (-want +got):\n%s\n%s", diff, r.Output)
	}
}

// build is what the guests of one architecture run.
type build struct {
	arch, dir, guest string
	loader           string // of programs built as PIE
	kvm              bool
	tools            map[string]string
	binaries         map[string]string // by task
}

func newBuild(t *testing.T, arch string) *build {
	t.Helper()
	// All guests of an architecture share it, so that it outlives the first one's test.
	dir, err := os.MkdirTemp("", "guanlan-kernels")
	if err != nil {
		t.Fatal(err)
	}
	builds = append(builds, dir)
	b := &build{arch: arch, dir: dir, guest: filepath.Join(dir, "guest"), tools: map[string]string{}, binaries: map[string]string{}}
	b.goBuild(t, "", b.guest, "./vm/guest")
	for _, name := range []string{"sh", "true", "sleep", "go"} {
		b.tools[name] = filepath.Join(dir, name)
		b.goBuild(t, "", b.tools[name], "-ldflags=-s -w -X main.is="+name, "./vm/guest")
	}
	b.tools["check"] = filepath.Join(dir, "check")
	b.goBuild(t, "", b.tools["check"], "./vm/check")
	return b
}

var builds []string

func TestMain(m *testing.M) {
	code := m.Run()
	for _, dir := range builds {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func (b *build) goBuild(t *testing.T, goarch, out string, args ...string) {
	t.Helper()
	b.goRun(t, goarch, append([]string{"build", "-o", out}, args...)...)
}

func (b *build) goRun(t *testing.T, goarch string, args ...string) {
	t.Helper()
	b.goRunIn(t, host, goarch, args...)
}

func (b *build) goRunIn(t *testing.T, dir, goarch string, args ...string) {
	t.Helper()
	if goarch == "" {
		goarch = b.arch
	}
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOARCH="+goarch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s for %s: %v\n%s", strings.Join(args, " "), goarch, err, out)
	}
}

func (b *build) goEnv(t *testing.T) string {
	t.Helper()
	text, err := json.Marshal(map[string]string{"GOROOT": "/usr/local/go", "GOMODCACHE": ModCache, "GOVERSION": runtime.Version(), "GOARCH": b.arch, "GOHOSTARCH": b.arch})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// add puts a test binary into the guest, with what it reads and would build.
func (b *build) add(t *testing.T, m *Machine, task, run string) {
	t.Helper()
	one := tests[task]
	dir := path.Join("/src/internal/kernel", one.pkg)
	binary := b.binaries[one.pkg]
	if binary == "" {
		binary = filepath.Join(b.dir, "test-"+one.pkg)
		b.goRun(t, "", "test", "-c", "-o", binary, "./"+one.pkg)
		b.binaries[one.pkg] = binary
	}
	at := path.Join("/tests", strings.ReplaceAll(task, " ", "-"))
	m.Files[at] = binary
	if data := filepath.Join(host, one.pkg, "testdata"); isDir(data) && one.pkg != "" {
		m.Files[path.Join(dir, "testdata")] = data
	}
	if one.pkg == "" {
		objects, _ := filepath.Glob(filepath.Join(host, "*/*_bpfel.o"))
		for _, o := range objects {
			rel, _ := filepath.Rel(host, o)
			m.Files[path.Join(dir, rel)] = o
		}
	}
	m.Texts[path.Join(dir, ".keep")] = ""
	var env []string
	size, skip := "-test.short", notHere
	switch task {
	case "builds":
		maps.Copy(m.Files, b.stormsOf(t))
		env = append(env, "GUANLAN_STORMS="+storms, "GUANLAN_STORM=240")
	case "releases":
		maps.Copy(m.Files, b.servicesOf(t))
		size, skip = "-test.short=false", ""
	case "shop":
		skip = ""
		fallthrough
	default:
		maps.Copy(m.Files, b.programsOf(t, one.pkg, fewer[task]))
	}
	if !m.KVM {
		env = append(env, "GUANLAN_EMULATED=1")
	}
	m.Plan.Tasks = append(m.Plan.Tasks, Task{Name: path.Base(at), Dir: dir, Env: env, Deadline: one.deadline,
		Args: []string{at, "-test.v", size, "-test.run=" + run, "-test.skip=" + skip, "-test.timeout=" + one.deadline.String()}})
}

func (b *build) programsOf(t *testing.T, pkg string, fewer *regexp.Regexp) map[string]string {
	t.Helper()
	out := map[string]string{}
	for i, p := range programs {
		if p.pkg != pkg || p.goarch == "386" && b.arch != "amd64" || fewer != nil && !fewer.MatchString(strings.Join(append([]string{p.name}, p.flags...), " ")) {
			continue
		}
		from := filepath.Join(host, pkg, "testdata", p.name)
		if strings.Contains(p.name, "/") {
			from = filepath.Join(root, p.name)
			out[path.Join("/src", p.name, "main.go")] = filepath.Join(from, "main.go")
		}
		source, err := os.ReadFile(filepath.Join(from, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(b.dir, fmt.Sprintf("program-%d", i))
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			b.goRunIn(t, from, p.goarch, append(append([]string{"build", "-o", file}, p.flags...), ".")...)
		}
		out[BuiltAs(source, "", p.goarch, p.flags)] = file
	}
	return out
}

// storms is where the guest finds testdata/storm of attach, built with other versions of Go.
const storms = "/storms"

// stormsOf builds it with the newest release of each version that this machine has.
func (b *build) stormsOf(t *testing.T) map[string]string {
	t.Helper()
	found := toolchains(t)
	if len(found) == 0 {
		t.Skip("there is no other version of Go: GOTOOLCHAIN=go1.20.14 go version fetches one")
	}
	out := map[string]string{}
	for version, root := range found {
		out[path.Join(storms, version)] = b.buildBy(t, root, version, "storm", "main.go", "std.go")
	}
	return out
}

// servicesOf builds testdata/service of attach so, and puts it where the guest's go command finds it.
func (b *build) servicesOf(t *testing.T) map[string]string {
	t.Helper()
	source, err := os.ReadFile(filepath.Join(host, "attach/testdata/service/main.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for version, root := range toolchains(t) {
		out[BuiltAs(source, version, "", stripped)] = b.buildBy(t, root, version, "service", "main.go")
		out[path.Join(ModCache, Toolchain(version, b.arch), "bin/go")] = b.tools["go"]
	}
	return out
}

// toolchains are the roots of the newest releases of each version of Go that this machine has, by release.
func toolchains(t *testing.T) map[string]string {
	t.Helper()
	cache, err := exec.Command("go", "env", "GOMODCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	roots, _ := filepath.Glob(filepath.Join(strings.TrimSpace(string(cache)), Toolchain("1.*", runtime.GOARCH)))
	newest := map[int]string{}
	patch := map[int]int{}
	for _, root := range roots {
		var minor, p int
		if n, _ := fmt.Sscanf(strings.SplitN(filepath.Base(root), "-go", 2)[1], "1.%d.%d", &minor, &p); n > 0 && minor >= 18 && (newest[minor] == "" || p > patch[minor]) {
			newest[minor], patch[minor] = root, p
		}
	}
	out := map[string]string{}
	for minor, root := range newest {
		out[fmt.Sprintf("1.%d.%d", minor, patch[minor])] = root
	}
	t.Logf("versions of Go: %q", slices.Sorted(maps.Keys(out)))
	return out
}

// stripped is how programs are built by other releases.
var stripped = []string{"-ldflags=-s -w"}

// buildBy builds a program of attach's testdata by another release, once.
func (b *build) buildBy(t *testing.T, root, version, program string, files ...string) string {
	t.Helper()
	file := filepath.Join(b.dir, program+"-"+version)
	if _, err := os.Stat(file); err == nil {
		return file
	}
	dir := t.TempDir()
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(host, "attach/testdata", program, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	language := version[:strings.LastIndexByte(version, '.')]
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), fmt.Appendf(nil, "module %s\n\ngo %s\n", program, language), 0o644); err != nil {
		t.Fatal(err)
	}
	// Some releases take a folder of the module cache for a module when it is their GOROOT.
	link := filepath.Join(dir, "goroot")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(link, "bin/go"), append(append([]string{"build", "-o", file}, stripped...), ".")...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOROOT="+link, "GOTOOLCHAIN=local", "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=0", "GOARCH="+b.arch)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s with %s: %v\n%s", program, root, err, out)
	}
	return file
}
