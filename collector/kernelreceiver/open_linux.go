package kernelreceiver

import (
	"cmp"
	"log/slog"
	"os"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.uber.org/zap/exp/zapslog"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/profile"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
	"github.com/guanlan-io/guanlan/internal/semconv"
)

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
	o.Permanent = consumererror.IsPermanent
	o.Logger = slog.New(zapslog.NewHandler(i.set.Logger.Core()))
	if i.logs != nil {
		o.Logs = i.logs.ConsumeLogs
	}
	if i.metrics != nil {
		o.Metrics = i.metrics.ConsumeMetrics
	}
	return telemetry.Start(o), nil
}

func (c *Config) options() (telemetry.Options, error) {
	host, _ := os.Hostname()
	o := telemetry.Options{
		Origin:     telemetry.Origin{Host: cmp.Or(c.HostName, host)},
		Host:       kernel.Options{Proc: c.Proc, Cgroup2: c.Cgroup},
		Statistics: c.Statistics, FindingsOnly: c.Audit.FindingsOnly,
	}
	if t := c.TCP; t.Enabled {
		o.TCP = &tcp.Options{Interval: t.Interval, SlowConnect: t.SlowConnect, SlowRTT: t.SlowRTT, SlowAccept: t.SlowAccept,
			MaxFlows: t.MaxFlows, EventsPerSecond: t.EventsPerSecond, NoSockOps: !t.EachRTT}
		limits := tcp.DefaultLimits()
		limits.SlowRTT, limits.SlowConnect = t.SlowRTT, t.SlowConnect
		o.Limits = &limits
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
		o.Audit = &audit.Options{Rules: rules, Scopes: scopes, HostRoot: a.HostRoot}
	}
	if p := c.Profile; p.Enabled {
		o.Profile = &profile.Options{Hz: cmp.Or(p.Hz, -1), Interval: p.Interval, OffCPU: p.OffCPU, MinWait: p.MinWait, MaxProfiles: p.MaxProfiles}
	}
	return o, nil
}
