package storeextension

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/guanlan-io/guanlan/internal/store/event"
)

// meter collects instruments whose values come from one read of the stats.
type meter struct {
	metric.Meter
	all  []metric.Observable
	errs []error
}

func (m *meter) counter(name, unit, description string) metric.Int64Observable {
	c, err := m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.all, m.errs = append(m.all, c), append(m.errs, err)
	return c
}

func (m *meter) gauge(name, unit, description string) metric.Int64Observable {
	g, err := m.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.all, m.errs = append(m.all, g), append(m.errs, err)
	return g
}

func (m *meter) seconds(name, description string) metric.Float64Observable {
	c, err := m.Float64ObservableCounter(name, metric.WithUnit("s"), metric.WithDescription(description))
	m.all, m.errs = append(m.all, c), append(m.errs, err)
	return c
}

func (m *meter) moment(name, description string) metric.Float64Observable {
	g, err := m.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
	m.all, m.errs = append(m.all, g), append(m.errs, err)
	return g
}

// observe reports the state of the stores and of what users set as metrics of the collector
// itself. The returned function ends it.
func observe(provider metric.MeterProvider, st Store) (func() error, error) {
	m := &meter{Meter: provider.Meter("github.com/guanlan-io/guanlan/store")}
	var (
		queueBytes    = m.gauge("guanlan.queue.size", "By", "Memory of batches that are in the journal and not yet in the engine.")
		queueLimit    = m.gauge("guanlan.queue.limit", "By", "Above it, writes are refused.")
		refused       = m.counter("guanlan.store.refused", "{batch}", "Batches refused, by reason; the sender was told to retry, or, where the reason is too_large, not to.")
		journalBytes  = m.gauge("guanlan.journal.size", "By", "Journal on disk.")
		journalIn     = m.counter("guanlan.journal.written", "By", "Payload written to the journal.")
		journalRecs   = m.counter("guanlan.journal.records", "{record}", "Batches written to the journal.")
		journalSyncs  = m.counter("guanlan.journal.syncs", "{fsync}", "Times the journal was flushed to the disk.")
		journalTime   = m.seconds("guanlan.journal.sync.time", "Time spent flushing the journal to the disk.")
		journalBroken = m.counter("guanlan.journal.damaged", "{record}", "Journal records that could not be read back.")
		rows          = m.gauge("guanlan.store.rows", "{row}", "Rows stored. Those of traces include the rows of the index that finds a trace by its id, usually one a trace.")
		bytes         = m.gauge("guanlan.store.size", "By", "Size of the stored rows, compressed.")
		added         = m.counter("guanlan.store.rows.added", "{row}", "Rows given to the engine.")
		dropped       = m.counter("guanlan.store.rows.dropped", "{row}", "Rows not kept: older than the retention or beyond a limit.")
		checkpoints   = m.counter("guanlan.checkpoints", "{checkpoint}", "Checkpoints made.")
		checkpointBad = m.counter("guanlan.checkpoint.errors", "{checkpoint}", "Checkpoints that failed.")
		checkpointDur = m.moment("guanlan.checkpoint.duration", "How long the last checkpoint took.")
		pending       = m.gauge("guanlan.checkpoint.pending", "By", "Journal since the last checkpoint: what a restart after a kill replays.")
		diskFree      = m.gauge("guanlan.disk.free", "By", "Free space of the data folder's file system.")
		series        = m.gauge("guanlan.metrics.series", "{series}", "Series in memory.")
		samples       = m.counter("guanlan.metrics.samples", "{sample}", "Samples acknowledged.")
		rejected      = m.counter("guanlan.metrics.rejected", "{sample}", "Samples refused, by reason.")
		wal           = m.gauge("guanlan.metrics.wal.size", "By", "Write-ahead logs of the metric store.")
		blocks        = m.gauge("guanlan.metrics.size", "By", "Blocks of the metric store.")
		queries       = m.counter("guanlan.metrics.queries", "{query}", "PromQL queries that have ended.")
		queryTime     = m.seconds("guanlan.metrics.query.time", "Time that PromQL queries took together.")
		profiles      = m.gauge("guanlan.profiles", "{profile}", "Profiles stored.")
		profileSeries = m.gauge("guanlan.profiles.series", "{series}", "Types of profiles of all resources.")
		profileHead   = m.gauge("guanlan.profiles.memory", "By", "New profiles in memory, which no segment holds yet.")
		profilesIn    = m.counter("guanlan.profiles.added", "{profile}", "Profiles acknowledged.")
		profilesLate  = m.counter("guanlan.profiles.late", "{profile}", "Profiles not kept because they are older than the retention.")
		profilesBad   = m.counter("guanlan.profiles.damaged", "{block}", "Blocks and journal records of profiles that could not be read.")
		profileWrites = m.counter("guanlan.profiles.refused", "{batch}", "Batches of profiles refused, by reason.")
		profileFails  = m.counter("guanlan.profiles.flush.errors", "{flush}", "Times that new profiles could not be written to a segment; they stay in the journal.")
		rules         = m.gauge("guanlan.sampling.policies", "{policy}", "Sampling policies of all tenants.")
		rulesBroken   = m.gauge("guanlan.sampling.damaged", "{file}", "1 when the file of the sampling policies could not be read at the start and was put aside.")
	)
	if err := errors.Join(m.errs...); err != nil {
		return nil, fmt.Errorf("make the store's own metrics: %w", err)
	}
	reg, err := m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		e, p, f := st.Events().Stats(), st.Metrics().Stats(), st.Profiles().Stats()
		num := func(i metric.Int64Observable, v uint64, attrs ...attribute.KeyValue) {
			o.ObserveInt64(i, int64(v), metric.WithAttributes(attrs...))
		}
		for signal, s := range map[string]event.SignalStats{"traces": e.Traces, "logs": e.Logs} {
			of := attribute.String("signal", signal)
			num(journalBytes, uint64(s.Journal.Bytes), of)
			num(journalIn, s.Journal.PayloadBytes, of)
			num(journalRecs, s.Journal.Records, of)
			num(journalSyncs, s.Journal.Syncs, of)
			o.ObserveFloat64(journalTime, s.Journal.SyncTime.Seconds(), metric.WithAttributes(of))
			num(journalBroken, s.Journal.Damaged+s.Journal.Torn+s.Undecodable, of)
			num(rows, s.Rows, of)
			num(bytes, s.Bytes, of)
			num(added, s.RowsAdded, of)
			num(dropped, s.RowsDropped+s.RowsEarly+s.RowsLate, of)
		}
		for reason, n := range map[string]uint64{
			"disk_full": e.Refused.Disk, "queue_full": e.Refused.Queue, "journal_error": e.Refused.Journal,
			"too_large": e.Refused.Size, "closing": e.Refused.Closing,
		} {
			num(refused, n, attribute.String("reason", reason))
		}
		num(queueBytes, uint64(e.QueueBytes))
		num(queueLimit, uint64(e.QueueLimit))
		num(checkpoints, e.Checkpoints)
		num(checkpointBad, e.CheckpointErrors)
		o.ObserveFloat64(checkpointDur, e.CheckpointTook.Seconds())
		num(pending, uint64(e.SinceBytes))
		num(diskFree, e.DiskFree)
		num(series, p.Series)
		num(samples, p.Appended)
		for reason, n := range p.Rejected {
			num(rejected, n, attribute.String("reason", string(reason)))
		}
		num(wal, uint64(p.WALBytes))
		num(blocks, uint64(p.BlockBytes))
		num(queries, p.Queries)
		of := attribute.String("signal", "profiles")
		num(bytes, uint64(f.Bytes), of)
		num(journalBytes, uint64(f.Journal.Bytes), of)
		num(journalIn, f.Journal.PayloadBytes, of)
		num(journalRecs, f.Journal.Records, of)
		num(journalSyncs, f.Journal.Syncs, of)
		o.ObserveFloat64(journalTime, f.Journal.SyncTime.Seconds(), metric.WithAttributes(of))
		num(journalBroken, f.Journal.Damaged+f.Journal.Torn, of)
		num(profiles, f.Profiles)
		num(profileSeries, uint64(f.Series))
		num(profileHead, uint64(f.HeadBytes))
		num(profilesIn, f.Added)
		num(profilesLate, f.Late)
		num(profilesBad, f.Damaged)
		for reason, n := range map[string]uint64{"disk_full": f.RefusedDisk, "queue_full": f.RefusedQueue, "other": f.Refused} {
			num(profileWrites, n, attribute.String("reason", reason))
		}
		num(profileFails, f.FlushErrors)
		kept := st.Policies().Stats()
		num(rules, uint64(kept.Policies))
		num(rulesBroken, uint64(kept.Damaged))
		o.ObserveFloat64(queryTime, p.QueryTime.Seconds())
		return nil
	}, m.all...)
	if err != nil {
		return nil, fmt.Errorf("observe the store: %w", err)
	}
	return reg.Unregister, nil
}
