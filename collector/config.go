package collector

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"sort"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/envprovider"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/confmap/provider/yamlprovider"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/otelcol"

	"github.com/guanlan-io/guanlan/collector/queryextension"
	"github.com/guanlan-io/guanlan/internal/kernel/telemetry"
)

//go:embed *.yaml overlay/*.yaml
var topologies embed.FS

// Default is the topology that runs when the user names none.
const Default = "guanlan:default"

// Kernel is what is put over a topology with a store to watch the kernel as well.
const Kernel = "guanlan:overlay/kernel"

// Agent is the topology that watches the kernel and sends on what it tells.
const Agent = "guanlan:agent"

// Topologies names the embedded topologies, as --config takes them.
func Topologies() []string {
	files, err := topologies.ReadDir(".")
	if err != nil {
		panic("BUG: read embedded topologies: " + err.Error())
	}
	var names []string
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		names = append(names, scheme+":"+strings.TrimSuffix(f.Name(), ".yaml"))
	}
	sort.Strings(names)
	return names
}

// Topology returns the text of an embedded topology named as in Topologies.
func Topology(uri string) ([]byte, error) {
	name, ok := strings.CutPrefix(uri, scheme+":")
	if !ok {
		return nil, fmt.Errorf("read topology %q: not of the form %s:NAME", uri, scheme)
	}
	text, err := topologies.ReadFile(name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("read topology %q: unknown; there are %s", uri, strings.Join(Topologies(), ", "))
	}
	return text, nil
}

// Summary is what a user wants to know once everything runs.
type Summary = queryextension.Summary

// KernelFeature says how one feature of the receiver kernel fares.
type KernelFeature = telemetry.Feature

// Options chooses what to run.
type Options struct {
	Version string
	// URIs are configuration locations (file:, env:, yaml:, guanlan:), later
	// ones winning.
	URIs []string
	// Ready, if not nil, is called once all receivers accept data.
	Ready func(Summary)
	// Watching, if not nil, is told what of the kernel is watched each time that a
	// receiver kernel has started.
	Watching func([]KernelFeature)
	// Reloader, if not nil, can make the collector read its configuration again.
	Reloader *Reloader
}

// Settings returns what otelcol needs to run the distribution.
func Settings(o Options) otelcol.CollectorSettings {
	allowProfiles()
	if o.Reloader != nil {
		o.URIs = append(slices.Clone(o.URIs), reloadScheme+":")
	}
	return otelcol.CollectorSettings{
		Factories: func() (otelcol.Factories, error) { return components(o) },
		BuildInfo: component.BuildInfo{Command: "guanlan", Description: "Guanlan", Version: o.Version},
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: confmap.ResolverSettings{
			URIs:          o.URIs,
			DefaultScheme: "env",
			ProviderFactories: []confmap.ProviderFactory{
				fileprovider.NewFactory(),
				envprovider.NewFactory(),
				yamlprovider.NewFactory(),
				confmap.NewProviderFactory(func(confmap.ProviderSettings) confmap.Provider { return embedded{} }),
				confmap.NewProviderFactory(func(confmap.ProviderSettings) confmap.Provider { return watched{o.Reloader} }),
			},
		}},
	}
}

// allowProfiles lets pipelines be of profiles, which the collector's frame has
// behind a gate of the whole process.
func allowProfiles() {
	if err := featuregate.GlobalRegistry().Set("service.profilesSupport", true); err != nil {
		panic("BUG: allow pipelines of profiles: " + err.Error())
	}
}

const scheme = "guanlan"

// embedded provides the topologies inside the binary to confmap.
type embedded struct{}

func (embedded) Retrieve(_ context.Context, uri string, _ confmap.WatcherFunc) (*confmap.Retrieved, error) {
	text, err := Topology(uri)
	if err != nil {
		return nil, err
	}
	return confmap.NewRetrievedFromYAML(text)
}

func (embedded) Scheme() string                 { return scheme }
func (embedded) Shutdown(context.Context) error { return nil }
