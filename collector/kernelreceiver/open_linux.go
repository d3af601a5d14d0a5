package kernelreceiver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap/exp/zapslog"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/dns"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/profile"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

func checkHosts(hosts, except []string) error { return attach.CheckHosts(hosts, except) }

// open starts the features.
func (i *instance) open() (watch, error) {
	o, err := i.config.options()
	if err != nil {
		return nil, err
	}
	o.Origin.Version = i.set.BuildInfo.Version
	o.Origin.Service = i.set.BuildInfo.Command
	if v, ok := i.set.Resource.Attributes().Get(semconv.ServiceName); ok {
		o.Origin.Service = v.AsString()
	}
	o.Logger = slog.New(zapslog.NewHandler(i.set.Logger.Core()))
	if i.logs != nil {
		o.Logs = i.logs.ConsumeLogs
	}
	if i.metrics != nil {
		o.Metrics = i.metrics.ConsumeMetrics
	}
	if i.traces != nil {
		o.Traces = i.traces.ConsumeTraces
	}
	if i.profiles != nil {
		o.Profiles = i.profiles.ConsumeProfiles
	}
	o.Answer = true
	if kept := i.all.kept.take(i.set.ID); kept != nil {
		w := kept.(*telemetry.Watch)
		if w.CanChange(o) {
			return w, w.Change(o)
		}
		if err := w.Close(ended()); err != nil {
			o.Logger.Warn("stop what watched the kernel", "error", err)
		}
	}
	w, err := started(o)
	if err == nil {
		warnOfOthers(o.Logger)
	}
	return w, err
}

// warnOfOthers says who else watches this machine: nothing is wrong with that if
// they send to different places, and nobody would find out where they do not.
func warnOfOthers(log *slog.Logger) {
	others, _ := telemetry.Ask(context.Background()) // who does not answer is another user's
	for _, r := range others {
		if r.PID != os.Getpid() {
			log.Warn("another process watches the kernel of this machine as well: what both send to one place counts twice",
				"process", r.PID, "service", r.Service, "next", "stop one of them, or share the work by --features")
		}
	}
}

// started keeps a nil *telemetry.Watch from being a watch.
func started(o telemetry.Options) (watch, error) {
	w, err := telemetry.Start(o)
	if err != nil {
		return nil, fmt.Errorf("start receiver kernel: %w", err)
	}
	return w, nil
}

// Check starts all features, says how they fare and stops them, and which
// capabilities this process has. kubeconfig names a cluster, "" the one around this process.
func Check(ctx context.Context, kubeconfig string) ([]telemetry.Feature, []telemetry.Capability, error) {
	c := defaultConfig()
	c.Kubernetes.Kubeconfig = kubeconfig
	o, err := c.options()
	if err != nil {
		return nil, nil, err
	}
	o.Profiles = func(context.Context, pprofile.Profiles) error { return nil } // or it is not wanted
	o.Traces = func(context.Context, ptrace.Traces) error { return nil }
	o.Attach = &attach.Options{Inject: true}
	w, err := telemetry.Start(o)
	if err != nil {
		return nil, nil, err
	}
	return w.Features(), telemetry.Capabilities(), w.Close(ctx)
}

// TailAudit runs the audit alone, with the built-in rules and those of files, and
// hands over its log records until ctx ends.
func TailAudit(ctx context.Context, files []string, f func(plog.Logs)) error {
	c := defaultConfig()
	c.TCP.Enabled, c.DNS.Enabled, c.Kubernetes.Enabled, c.OOM.Enabled, c.Profile.Enabled = false, false, false, false, false
	c.Audit.Rules = files
	o, err := c.options()
	if err != nil {
		return err
	}
	o.Logs = func(_ context.Context, l plog.Logs) error {
		f(l)
		return nil
	}
	w, err := telemetry.Start(o)
	if err != nil {
		return err
	}
	for _, f := range w.Features() {
		if err := f.Err(); err != nil {
			return errors.Join(err, w.Close(ctx))
		}
	}
	<-ctx.Done()
	return w.Close(context.WithoutCancel(ctx))
}

// auditRing takes 5,000 records, 50,000 a second for two readings. It is in the
// process's memory twice: the kernel maps rings twice in a row.
const auditRing = 2 << 20

func (c *Config) options() (telemetry.Options, error) {
	host, _ := os.Hostname()
	o := telemetry.Options{
		Origin:     telemetry.Origin{Host: cmp.Or(c.HostName, host)},
		Host:       kernel.Options{Proc: c.Proc, Cgroup2: c.Cgroup, Root: c.Audit.HostRoot},
		Pin:        c.Pin,
		Permanent:  consumererror.IsPermanent,
		Statistics: c.Statistics, FindingsOnly: c.Audit.FindingsOnly,
	}
	if t := c.TCP; t.Enabled {
		o.TCP = &tcp.Options{Interval: t.Interval, SlowConnect: t.SlowConnect, SlowRTT: t.SlowRTT, SlowAccept: t.SlowAccept,
			MaxFlows: t.MaxFlows, EventsPerSecond: t.EventsPerSecond, NoSockOps: !t.EachRTT}
		limits := tcp.DefaultLimits()
		limits.SlowRTT, limits.SlowConnect = t.SlowRTT, t.SlowConnect
		o.Limits = &limits
	}
	if c.DNS.Enabled {
		o.DNS = &dns.Options{AnswersPerSecond: c.DNS.AnswersPerSecond}
	}
	if c.Kubernetes.Enabled {
		o.Kubernetes = &telemetry.Kubernetes{Kubeconfig: c.Kubernetes.Kubeconfig}
	}
	if c.OOM.Enabled {
		o.OOM = &oom.Options{Every: c.OOM.Every, Keep: int(c.OOM.History / c.OOM.Every)}
	}
	if a := c.Audit; a.Enabled {
		rules, err := a.rules()
		if err != nil {
			return o, err
		}
		scopes, err := a.scopes()
		if err != nil {
			return o, err
		}
		if a.BuiltinRules {
			o.RuleSources = append(o.RuleSources, "")
		}
		o.RuleSources = append(o.RuleSources, a.Rules...)
		o.Audit = &audit.Options{Rules: rules, Scopes: scopes, RingSize: auditRing}
	}
	if p := c.Profile; p.Enabled {
		o.Profile = &profile.Options{Hz: cmp.Or(p.Hz, -1), Interval: p.Interval, OffCPU: p.OffCPU, MinWait: p.MinWait, MaxProfiles: p.MaxProfiles}
	}
	if a := c.Attach; a.Enabled {
		o.Attach = &attach.Options{SpansPerTrace: a.SpansPerTrace, Inject: a.Inject, InjectHosts: a.InjectHosts, InjectExcept: a.InjectExcept}
		for _, exe := range a.Executables {
			o.Attach.Targets = append(o.Attach.Targets, attach.Target{Exe: exe})
		}
		for _, id := range a.Containers {
			o.Attach.Targets = append(o.Attach.Targets, attach.Target{Container: id})
		}
	}
	return o, nil
}
