package kernelreceiver

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.uber.org/goleak"

	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
)

func TestValidateNamesTheField(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(broken, []byte("version: 2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"pin bpf: want the whole path":                           func(c *Config) { c.Pin = "bpf" },
		"tcp::interval 1ms: want 1s to 5m0s":                     func(c *Config) { c.TCP.Interval = time.Millisecond },
		"tcp::slow_connect 0s: want":                             func(c *Config) { c.TCP.SlowConnect = 0 },
		"tcp::slow_rtt 2m0s: want":                               func(c *Config) { c.TCP.SlowRTT = 2 * time.Minute },
		"tcp::slow_accept -1ns: want":                            func(c *Config) { c.TCP.SlowAccept = -1 },
		"tcp::max_flows 1: want 64 to":                           func(c *Config) { c.TCP.MaxFlows = 1 },
		"tcp::events_per_second 0: want 1 to":                    func(c *Config) { c.TCP.EventsPerSecond = 0 },
		"dns::answers_per_second 0: want 1 to 100000":            func(c *Config) { c.DNS.AnswersPerSecond = 0 },
		"oom::every 0s: want 1s to":                              func(c *Config) { c.OOM.Every = 0 },
		"oom::history 1s: want 5s to":                            func(c *Config) { c.OOM.History = time.Second },
		"profile::hz 1001: want 0 to 1000":                       func(c *Config) { c.Profile.Hz = 1001 },
		"profile::hz 0: want more than 0, or off_cpu":            func(c *Config) { c.Profile.Hz = 0 },
		"profile::interval 1ms: want":                            func(c *Config) { c.Profile.Interval = time.Millisecond },
		"profile::min_wait 0s: want":                             func(c *Config) { c.Profile.MinWait = 0 },
		"profile::max_profiles 0: want":                          func(c *Config) { c.Profile.MaxProfiles = 0 },
		"attach::executables []: want at least one":              func(c *Config) { c.Attach.Enabled = true },
		"attach::containers::0 4f2a: want at least 12":           func(c *Config) { c.Attach.Containers = []string{"4f2a"} },
		"attach::spans_per_trace 0: want":                        func(c *Config) { c.Attach.SpansPerTrace = 0 },
		`inject_except: host "*.com:80": want it without a port`: func(c *Config) { c.Attach.InjectExcept = []string{"*.com:80"} },
		"audit::scopes::opne: no such kind":                      func(c *Config) { c.Audit.Scopes = map[string]string{"opne": "never"} },
		`audit::scopes::open "here": want never`:                 func(c *Config) { c.Audit.Scopes = map[string]string{"open": "here"} },
		"audit::rules::0: open nowhere.yaml":                     func(c *Config) { c.Audit.Rules = []string{"nowhere.yaml"} },
		"audit::rules::0 " + broken + ": parse rules: version 2": func(c *Config) { c.Audit.Rules = []string{broken} },
	} {
		c := defaultConfig()
		change(c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
	if err := defaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
}

// One configuration is one instance, which starts once and stops once, and a
// configuration that comes again is a new one.
func TestOneInstanceServesAllPipelines(t *testing.T) {
	type counted struct{ starts int }
	var told counted
	f := NewFactory(func([]telemetry.Feature) { told.starts++ }, nil)
	config := f.CreateDefaultConfig().(*Config)
	// What a kernel can do is no matter here.
	config.TCP.Enabled, config.OOM.Enabled, config.Audit.Enabled, config.Profile.Enabled = false, false, false, false
	set := receivertest.NewNopSettings(f.Type())
	run := func() any {
		logs, err := f.CreateLogs(t.Context(), set, config, consumertest.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		metrics, err := f.CreateMetrics(t.Context(), set, config, consumertest.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		traces, err := f.CreateTraces(t.Context(), set, config, consumertest.NewNop())
		if err != nil {
			t.Fatal(err)
		}
		if any(logs) != any(metrics) || any(logs) != any(traces) {
			t.Error("each pipeline has an instance of its own")
		}
		for range 2 {
			if err := logs.Start(t.Context(), componenttest.NewNopHost()); err != nil {
				t.Skip(err) // not Linux
			}
		}
		for range 2 {
			if err := metrics.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}
		return logs
	}
	known := goleak.IgnoreCurrent()
	first := run()
	if second := run(); first == second || told.starts != 2 {
		t.Errorf("after a stop the same instance came back, or it was started %d times", told.starts)
	}
	goleak.VerifyNone(t, known)
}
