package event

import "path/filepath"

// Open opens the data folder, replaying what was acknowledged and not yet in
// the files of the engine when the last process ended.
func Open(opts Options) (*Store, error) {
	return open(opts, realCodecs, timing{
		bytes: checkpointBytes, rows: checkpointRows,
		after:   checkpointAfter,
		settle:  settleAfter,
		refresh: refreshAfter,
	})
}

func realCodecs(opts Options) (codecs, error) {
	counts, err := openRollup(filepath.Join(opts.Dir, "rollup"))
	if err != nil {
		return codecs{}, err
	}
	spans := newSpanCodec(opts.Traces.kept(), counts)
	logs := newLogCodec(opts.Logs.kept(), newTail())
	return codecs{
		spans:   spans.appendRows,
		logs:    logs.appendRows,
		helpers: map[string]checkpointed{"traces": spans, "logs": logs},
	}, nil
}
