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
	latest int64 // when the last receipt of its files was stored, unix ms; 0: there is none
}

// closed reports whether every debt of every file in the object is closed.
func (o *stagedObject) closed() bool {
	return o.open == 0 || ablation.On(ablation.DeletesUndelivered) || ablation.On(ablation.DeletesByFile) && o.open < o.files
}

// objects returns the staged objects that the entry names.
func (s receiptSet) objects(e *ledger.Entry) []stagedObject {
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
		for _, dest := range f.Owed {
			if c := s.get(i, dest); c == nil {
				open = 1
			} else {
				o.latest = max(o.latest, c.at)
			}
		}
		o.files, o.open = o.files+1, o.open+open
	}
	return objects
}
