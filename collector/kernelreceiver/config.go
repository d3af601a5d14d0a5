package kernelreceiver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/guanlan-io/guanlan/internal/kernel/audit"
)

// Config is the configuration of the receiver. A feature that this kernel or
// process cannot do is told as a warning, and the others run.
type Config struct {
	TCP        TCPConfig        `mapstructure:"tcp"`
	DNS        DNSConfig        `mapstructure:"dns"`
	OOM        OOMConfig        `mapstructure:"oom"`
	Kubernetes KubernetesConfig `mapstructure:"kubernetes"`
	Audit      AuditConfig      `mapstructure:"audit"`
	Profile    ProfileConfig    `mapstructure:"profile"`
	Attach     AttachConfig     `mapstructure:"attach"`
	// Proc is where the host's procfs is mounted; default /proc. In a container
	// the pid namespace must be the host's as well.
	Proc string `mapstructure:"proc"`
	// Cgroup is where the host's cgroup v2 is mounted; default: what proc says.
	Cgroup string `mapstructure:"cgroup"`
	// HostName is host.name of all that is told; default: the kernel's.
	HostName string `mapstructure:"host_name"`
	// Statistics makes the kernel measure its BPF programs, those of others too:
	// two readings of the clock a run. Default false.
	Statistics bool `mapstructure:"statistics"`
	// Pin is a folder of a BPF file system, such as /sys/fs/bpf/guanlan, in which tcp,
	// oom and audit go on when the process ends, for the next one to take over. Default:
	// none, and nothing stays.
	Pin string `mapstructure:"pin"`
}

// TCPConfig is about connections.
type TCPConfig struct {
	Enabled bool `mapstructure:"enabled"` // default true
	// Interval is how often metrics are told; default 10s.
	Interval time.Duration `mapstructure:"interval"`
	// SlowConnect, SlowRTT and SlowAccept are what is worth a record and, in
	// excess, a signal; default 100ms, 200ms, 100ms.
	SlowConnect time.Duration `mapstructure:"slow_connect"`
	SlowRTT     time.Duration `mapstructure:"slow_rtt"`
	SlowAccept  time.Duration `mapstructure:"slow_accept"`
	// MaxFlows bounds the pairs of process and peer that the kernel counts apart;
	// default 8192, 1 KB each.
	MaxFlows int `mapstructure:"max_flows"`
	// EventsPerSecond bounds the records of one CPU; default 200.
	EventsPerSecond int `mapstructure:"events_per_second"`
	// EachRTT takes every sample of the round-trip time, which needs
	// CAP_NET_ADMIN, in place of the mean at each segment; default true.
	EachRTT bool `mapstructure:"each_rtt"`
}

// DNSConfig is about the names that programs ask for, as names of TCP's peers.
type DNSConfig struct {
	Enabled bool `mapstructure:"enabled"` // default true
	// AnswersPerSecond bounds what one CPU reads; default 1000.
	AnswersPerSecond int `mapstructure:"answers_per_second"`
}

// KubernetesConfig is about the names of pods, workloads and services.
type KubernetesConfig struct {
	// Enabled asks the cluster's API server where this process runs in a pod, or
	// where Kubeconfig is set; default true.
	Enabled bool `mapstructure:"enabled"`
	// Kubeconfig is a file with cluster and credentials; default: those of the pod.
	Kubeconfig string `mapstructure:"kubeconfig"`
}

// OOMConfig is about kills for want of memory.
type OOMConfig struct {
	Enabled bool `mapstructure:"enabled"` // default true
	// Every is how often the memory of cgroups with a limit is noted; default 5s.
	Every time.Duration `mapstructure:"every"`
	// History is how far back a kill's record tells of it; default 5m.
	History time.Duration `mapstructure:"history"`
}

// AuditConfig is about what processes do.
type AuditConfig struct {
	Enabled bool `mapstructure:"enabled"` // default true
	// Rules are files of rules, later ones over earlier and over the built-in ones.
	Rules []string `mapstructure:"rules"`
	// BuiltinRules are the first; default true.
	BuiltinRules bool `mapstructure:"builtin_rules"`
	// FindingsOnly tells only what meets a rule; default false.
	FindingsOnly bool `mapstructure:"findings_only"`
	// Scopes says for a kind of event (exec, exit, fork, open, connect, namespace,
	// mount, ptrace, bpf, module, io_uring) where it is told: never, containers or
	// everywhere. Default: exec, namespace, mount, ptrace, bpf and module
	// everywhere, exit and fork never, the rest in containers.
	Scopes map[string]string `mapstructure:"scopes"`
	// HostRoot is where the host's root is mounted, for the names of containers
	// and images; default /.
	HostRoot string `mapstructure:"host_root"`
}

// ProfileConfig is about where time goes.
type ProfileConfig struct {
	Enabled bool `mapstructure:"enabled"` // default true
	// Hz is how often each CPU's stack is taken in a second; default 19, at most
	// 1000; 0: no profile of the CPU.
	Hz int `mapstructure:"hz"`
	// Interval is the time of one profile; default 10s.
	Interval time.Duration `mapstructure:"interval"`
	// OffCPU profiles waits as well, which costs about 1.1 µs a switch of threads; default false.
	OffCPU bool `mapstructure:"off_cpu"`
	// MinWait is the shortest wait that counts; default 1ms.
	MinWait time.Duration `mapstructure:"min_wait"`
	// MaxProfiles bounds the processes of one interval, the busiest first; default 512.
	MaxProfiles int `mapstructure:"max_profiles"`
}

// AttachConfig is about spans of Go programs that have no instrumentation.
type AttachConfig struct {
	Enabled bool `mapstructure:"enabled"` // default false
	// Executables and Containers name the programs, which may start later: by the
	// path of the executable or its last element, by at least 12 digits of the
	// container's id.
	Executables []string `mapstructure:"executables"`
	Containers  []string `mapstructure:"containers"`
	// SpansPerTrace bounds what one request may grow into; default 1000.
	SpansPerTrace int `mapstructure:"spans_per_trace"`
	// Inject writes the traceparent of client spans into requests that the programs send, where
	// the kernel allows it: it changes their memory. Default false.
	Inject bool `mapstructure:"inject"`
	// InjectHosts are the only hosts whose requests get it, InjectExcept hosts to spare; where patterns of
	// both fit, the longest counts. A pattern is a name, *. and the end of names, an address, a
	// network of IPv4, or *. Default: all hosts.
	InjectHosts  []string `mapstructure:"inject_hosts"`
	InjectExcept []string `mapstructure:"inject_except"`
}

func defaultConfig() *Config {
	return &Config{
		Proc: "/proc",
		TCP: TCPConfig{Enabled: true, Interval: 10 * time.Second, SlowConnect: 100 * time.Millisecond, SlowRTT: 200 * time.Millisecond,
			SlowAccept: 100 * time.Millisecond, MaxFlows: 8192, EventsPerSecond: 200, EachRTT: true},
		DNS:        DNSConfig{Enabled: true, AnswersPerSecond: 1000},
		Kubernetes: KubernetesConfig{Enabled: true},
		OOM:        OOMConfig{Enabled: true, Every: 5 * time.Second, History: 5 * time.Minute},
		Audit:      AuditConfig{Enabled: true, BuiltinRules: true, HostRoot: "/"},
		Profile:    ProfileConfig{Enabled: true, Hz: 19, Interval: 10 * time.Second, MinWait: time.Millisecond, MaxProfiles: 512},
		Attach:     AttachConfig{SpansPerTrace: 1000},
	}
}

// bounds of the configuration.
const (
	minInterval = time.Second     // a report takes some ms of work
	maxInterval = 5 * time.Minute // what Prometheus looks back
	maxFlows    = 1 << 20         // 1 GB in the kernel
	maxHz       = 1000
	maxKept     = 10_000 // samples of one cgroup

	minContainer = 12 // digits, as tools print them
)

// Validate names the field that is wrong and what it wants.
func (c *Config) Validate() error {
	var errs []error
	want := func(ok bool, field string, got any, wish string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s %v: want %s", field, got, wish))
		}
	}
	between := func(field string, d, low, high time.Duration) {
		want(d >= low && d <= high, field, d, fmt.Sprintf("%s to %s", low, high))
	}
	count := func(field string, n, low, high int) {
		want(n >= low && n <= high, field, n, fmt.Sprintf("%d to %d", low, high))
	}
	want(c.Pin == "" || filepath.IsAbs(c.Pin), "pin", c.Pin, "the whole path of a folder, such as /sys/fs/bpf/guanlan")
	between("tcp::interval", c.TCP.Interval, minInterval, maxInterval)
	between("tcp::slow_connect", c.TCP.SlowConnect, time.Millisecond, time.Minute)
	between("tcp::slow_rtt", c.TCP.SlowRTT, time.Millisecond, time.Minute)
	between("tcp::slow_accept", c.TCP.SlowAccept, time.Millisecond, time.Minute)
	count("tcp::max_flows", c.TCP.MaxFlows, 64, maxFlows)
	count("tcp::events_per_second", c.TCP.EventsPerSecond, 1, 100_000)
	count("dns::answers_per_second", c.DNS.AnswersPerSecond, 1, 100_000)
	between("oom::every", c.OOM.Every, minInterval, time.Hour)
	if c.OOM.Every >= minInterval {
		between("oom::history", c.OOM.History, c.OOM.Every, maxKept*c.OOM.Every)
	}
	count("profile::hz", c.Profile.Hz, 0, maxHz)
	want(c.Profile.Hz > 0 || c.Profile.OffCPU || !c.Profile.Enabled, "profile::hz", 0, "more than 0, or off_cpu: true, or enabled: false")
	between("profile::interval", c.Profile.Interval, minInterval, time.Hour)
	between("profile::min_wait", c.Profile.MinWait, time.Microsecond, time.Minute)
	count("profile::max_profiles", c.Profile.MaxProfiles, 1, 100_000)
	count("attach::spans_per_trace", c.Attach.SpansPerTrace, 1, 100_000)
	want(!c.Attach.Enabled || len(c.Attach.Executables)+len(c.Attach.Containers) > 0, "attach::executables", "[]", "at least one, or one of containers")
	for i, id := range c.Attach.Containers {
		want(len(id) >= minContainer, fmt.Sprintf("attach::containers::%d", i), id, fmt.Sprintf("at least %d digits of an id", minContainer))
	}
	if err := checkHosts(c.Attach.InjectHosts, c.Attach.InjectExcept); err != nil {
		errs = append(errs, fmt.Errorf("attach::inject_hosts and inject_except: %w", err))
	}
	if _, err := c.Audit.scopes(); err != nil {
		errs = append(errs, err)
	}
	if _, err := c.Audit.rules(); c.Audit.Enabled && err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// scopeNames are what Scopes may say.
var scopeNames = map[string]audit.Scope{"never": audit.Never, "containers": audit.Containers, "everywhere": audit.Everywhere}

func (c *AuditConfig) scopes() (map[audit.Kind]audit.Scope, error) {
	// Who starts what tells more than that somebody forked or ended, at a tenth of the records.
	out := map[audit.Kind]audit.Scope{audit.Fork: audit.Never, audit.Exit: audit.Never}
	var errs []error
	for name, where := range c.Scopes {
		k, scope := audit.KindNamed(name), scopeNames[where]
		if k == 0 {
			errs = append(errs, fmt.Errorf("audit::scopes::%s: no such kind of event", name))
		}
		if scope == 0 {
			errs = append(errs, fmt.Errorf("audit::scopes::%s %q: want never, containers or everywhere", name, where))
		}
		out[k] = scope
	}
	return out, errors.Join(errs...)
}

func (c *AuditConfig) rules() (*audit.Rules, error) {
	var files [][]byte
	if c.BuiltinRules {
		files = append(files, audit.Builtin())
	}
	for i, name := range c.Rules {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("audit::rules::%d: %w", i, err)
		}
		files = append(files, text)
		if _, err := audit.ParseRules(files...); err != nil {
			return nil, fmt.Errorf("audit::rules::%d %s: %w", i, name, err)
		}
	}
	return audit.ParseRules(files...)
}
