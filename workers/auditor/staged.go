package auditor

import (
	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/ledger"
)

// stagedObject is an object that an entry names: one file, or a pack of several.
type stagedObject struct {
	key    string
	files  int
	open   int   // number of its files that are still owed to somebody
	latest int64 // when the last of its files' debts to be closed was closed, unix ms; 0: none was
}

// closed reports whether every debt of every file in the object is closed.
func (o *stagedObject) closed() bool {
	return o.open == 0 || ablation.On(ablation.DeletesUndelivered) || ablation.On(ablation.DeletesByFile) && o.open < o.files
}

// objectsOf returns the staged objects that the entry names. pairs are its owed pairs, in the order
// of files.
func objectsOf(e *ledger.Entry, pairs []pair) []stagedObject {
	var objects []stagedObject
	byKey := make(map[string]int, len(e.Files))
	for i := range e.Files {
		f := &e.Files[i]
		at, known := byKey[f.StagedKey]
		if !known {
			at = len(objects)
			byKey[f.StagedKey] = at
			objects = append(objects, stagedObject{key: f.StagedKey})
		}
		o, open := &objects[at], 0
		for _, p := range pairs[:len(f.Owed)] {
			if p.receipt == nil {
				open = 1
			} else {
				o.latest = max(o.latest, p.receipt.at)
			}
		}
		pairs = pairs[len(f.Owed):]
		o.files, o.open = o.files+1, o.open+open
	}
	return objects
}
