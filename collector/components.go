// Package collector is Guanlan's OpenTelemetry Collector distribution: which
// components it is made of, and the topologies that ship inside the binary.
//
// Adapters live one folder each below it and stay thin; what they adapt lives
// in internal.
package collector

import (
	"errors"

	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/clickhouseexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/kafkaexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/loadbalancingexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusremotewriteexporter"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/deltatocumulativeprocessor"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/filelogreceiver"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/debugexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/batchprocessor"
	"go.opentelemetry.io/collector/processor/memorylimiterprocessor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"

	// Service discovery for scraping is chosen here, mechanism by mechanism:
	// the scrape receiver would link every cloud's SDK (see docs/adr).
	_ "github.com/prometheus/prometheus/discovery/file"
	_ "github.com/prometheus/prometheus/discovery/http"
	_ "github.com/prometheus/prometheus/discovery/kubernetes"

	"github.com/guanlan-io/guanlan/collector/graphconnector"
	"github.com/guanlan-io/guanlan/collector/kernelreceiver"
	"github.com/guanlan-io/guanlan/collector/queryextension"
	"github.com/guanlan-io/guanlan/collector/redconnector"
	"github.com/guanlan-io/guanlan/collector/scrapereceiver"
	"github.com/guanlan-io/guanlan/collector/storeexporter"
	"github.com/guanlan-io/guanlan/collector/storeextension"
)

// components lists every component of the distribution, in flow order.
func components(o Options) (otelcol.Factories, error) {
	var f otelcol.Factories
	var errs [5]error
	var scraping scrapereceiver.Running

	f.Receivers, errs[0] = otelcol.MakeFactoryMap[receiver.Factory](
		otlpreceiver.NewFactory(),
		scrapereceiver.NewFactory(&scraping),
		filelogreceiver.NewFactory(),
		kernelreceiver.NewFactory(o.Watching, o.Reloader.begin()),
	)
	f.Processors, errs[1] = otelcol.MakeFactoryMap[processor.Factory](
		memorylimiterprocessor.NewFactory(),
		batchprocessor.NewFactory(),
		deltatocumulativeprocessor.NewFactory(), // for agents that send to others
		storeexporter.NewProcessorFactory(),
	)
	f.Connectors, errs[2] = otelcol.MakeFactoryMap[connector.Factory](
		redconnector.NewFactory(),
		graphconnector.NewFactory(),
	)
	f.Exporters, errs[3] = otelcol.MakeFactoryMap[exporter.Factory](
		storeexporter.NewFactory(),
		otlpexporter.NewFactory(),
		otlphttpexporter.NewFactory(),
		prometheusremotewriteexporter.NewFactory(),
		kafkaexporter.NewFactory(),
		clickhouseexporter.NewFactory(),
		loadbalancingexporter.NewFactory(),
		debugexporter.NewFactory(),
	)
	f.Extensions, errs[4] = otelcol.MakeFactoryMap[extension.Factory](
		storeextension.NewFactory(),
		queryextension.NewFactory(o.Ready, scraping.APIs),
	)
	f.Telemetry = selfTelemetry()
	return f, errors.Join(errs[:]...)
}
