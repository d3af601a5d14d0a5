package collector

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/xexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/pdata/pprofile"
	"go.opentelemetry.io/collector/processor"
	"go.uber.org/goleak"

	"github.com/guanlan-io/guanlan/collector/queryextension"
	"github.com/guanlan-io/guanlan/collector/storeextension"
	translate "github.com/guanlan-io/guanlan/internal/pprofile"
)

func factories(t *testing.T) otelcol.Factories {
	t.Helper()
	f, err := components(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// all lists every factory as what they have in common.
func all(f otelcol.Factories) map[string]component.Factory {
	out := map[string]component.Factory{}
	for t, x := range f.Receivers {
		out["receiver "+t.String()] = x
	}
	for t, x := range f.Processors {
		out["processor "+t.String()] = x
	}
	for t, x := range f.Connectors {
		out["connector "+t.String()] = x
	}
	for t, x := range f.Exporters {
		out["exporter "+t.String()] = x
	}
	for t, x := range f.Extensions {
		out["extension "+t.String()] = x
	}
	return out
}

// needsConfig names the components that are nothing without a setting, which
// the user must give.
var needsConfig = map[string]bool{
	"receiver prometheus":      true, // targets
	"receiver otlp":            true, // at least one protocol
	"processor memory_limiter": true, // limit
	"exporter otlp":            true, // endpoint
	"exporter otlp_grpc":       true, // endpoint
	"exporter otlp_http":       true, // endpoint
	"exporter otlphttp":        true, // endpoint
	"exporter clickhouse":      true, // endpoint
}

func TestDefaultConfigs(t *testing.T) {
	for name, f := range all(factories(t)) {
		c := f.CreateDefaultConfig()
		if err := componenttest.CheckConfigStruct(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := confmap.Validate(c); (err != nil) != needsConfig[name] {
			t.Errorf("%s: default configuration: %v (needs more: %v)", name, err, needsConfig[name])
		}
	}
}

// host lends extensions to components.
type host map[component.ID]component.Component

func (h host) GetExtensions() map[component.ID]component.Component { return h }

// ours starts and stops all components that are made here, in the order in
// which the collector does.
func ours(t *testing.T, f otelcol.Factories, dir string) {
	t.Helper()
	ctx := context.Background()
	telemetry := componenttest.NewNopTelemetrySettings()
	h := host{}
	var started []component.Component
	begin := func(id component.ID, c component.Component, err error) {
		t.Helper()
		if err == nil {
			err = c.Start(ctx, h)
		}
		if err != nil {
			t.Fatalf("start %s: %v", id, err)
		}
		started = append(started, c)
	}
	for _, name := range []string{"store", "query"} {
		kind := component.MustNewType(name)
		id := component.NewID(kind)
		factory := f.Extensions[kind]
		c := factory.CreateDefaultConfig()
		switch c := c.(type) {
		case *storeextension.Config:
			c.Directory = dir
		case *queryextension.Config:
			c.Endpoint = "127.0.0.1:0"
		}
		e, err := factory.Create(ctx, extension.Settings{ID: id, TelemetrySettings: telemetry}, c)
		h[id] = e
		begin(id, e, err)
	}
	store := component.MustNewType("store")
	set := exporter.Settings{ID: component.NewID(store), TelemetrySettings: telemetry}
	out := f.Exporters[store]
	traces, err := out.CreateTraces(ctx, set, out.CreateDefaultConfig())
	begin(set.ID, traces, err)
	logs, err := out.CreateLogs(ctx, set, out.CreateDefaultConfig())
	begin(set.ID, logs, err)
	metrics, err := out.CreateMetrics(ctx, set, out.CreateDefaultConfig())
	begin(set.ID, metrics, err)
	profiles, err := out.(xexporter.Factory).CreateProfiles(ctx, set, out.CreateDefaultConfig())
	begin(set.ID, profiles, err)
	takesProfiles(t, profiles)
	stage, err := f.Processors[store].CreateTraces(ctx, processor.Settings{ID: component.NewID(store), TelemetrySettings: telemetry},
		f.Processors[store].CreateDefaultConfig(), consumertest.NewNop())
	begin(set.ID, stage, err)
	for kind := range f.Connectors {
		id := component.NewID(kind)
		c, err := f.Connectors[kind].CreateTracesToMetrics(ctx, connector.Settings{ID: id, TelemetrySettings: telemetry},
			f.Connectors[kind].CreateDefaultConfig(), consumertest.NewNop())
		begin(id, c, err)
	}
	slices.Reverse(started)
	for _, c := range started {
		if err := c.Shutdown(ctx); err != nil {
			t.Errorf("shut down %T: %v", c, err)
		}
		if err := c.Shutdown(ctx); err != nil {
			t.Errorf("shut down %T once more: %v", c, err)
		}
	}
}

// takesProfiles tells good profiles from those that can never be kept.
func takesProfiles(t *testing.T, to xexporter.Profiles) {
	t.Helper()
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "goroutine", Unit: "count"}}, Sample: []*profile.Sample{{Value: []int64{1}}}}
	if err := to.ConsumeProfiles(context.Background(), translate.FromPprof(p, map[string]string{"service.name": "shop"}, "")); err != nil {
		t.Errorf("a good profile: %v", err)
	}
	bad := pprofile.NewProfiles()
	bad.ResourceProfiles().AppendEmpty().ScopeProfiles().AppendEmpty().Profiles().AppendEmpty().Samples().AppendEmpty().SetStackIndex(9)
	if err := to.ConsumeProfiles(context.Background(), bad); !consumererror.IsPermanent(err) || !strings.Contains(err.Error(), "stack_index 9") {
		t.Errorf("an index that points nowhere: %v", err)
	}
}

// TestComponentsLeaveNothing starts and stops our components twice on one
// folder. The first time shows what libraries keep for the life of the
// process; the second must add nothing to it.
func TestComponentsLeaveNothing(t *testing.T) {
	f, dir := factories(t), t.TempDir()
	ours(t, f, dir)
	known := goleak.IgnoreCurrent()
	ours(t, f, dir)
	goleak.VerifyNone(t, known, goleak.IgnoreAnyFunction("testing.(*T).Run"))
}

// TestTopologies loads every embedded topology as `guanlan config validate`
// does.
func TestTopologies(t *testing.T) {
	names := Topologies()
	if !slices.Contains(names, Default) {
		t.Fatalf("topologies %v without %s", names, Default)
	}
	for _, name := range names {
		col, err := otelcol.NewCollector(Settings(Options{Version: "test", URIs: []string{name}}))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if err := col.DryRun(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
	}
	if _, err := Topology("default"); err == nil {
		t.Error("a name without its scheme was found")
	}
}
