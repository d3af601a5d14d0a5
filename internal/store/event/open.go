package event

import (
	"path/filepath"
)

// Open opens the data folder, replaying what was acknowledged but not on disk
// when the last process ended.
func Open(opts Options) (*Store, error) {
	roll, err := openRollup(filepath.Join(opts.Dir, "rollup"))
	if err != nil {
		return nil, err
	}
	spans := newSpanCodec(opts.Traces.kept(), roll)
	logs := newLogCodec(opts.Logs.kept(), newTail())
	return open(opts, codecs{
		spans:   spans.appendRows,
		logs:    logs.appendRows,
		helpers: map[string]checkpointed{"rollup": roll},
	}, normally)
}

// normally is when checkpoints are made outside tests.
var normally = timing{bytes: checkpointBytes, rows: checkpointRows, after: checkpointAfter, settle: settleAfter}
