package dedup

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// RaiseFloor says that nothing below the offset is to be filled in: the log does not hold it, or it
// was filed by another rule.
func (s *Store) RaiseFloor(offset int64) { s.floor = max(s.floor, offset) }

// ForgetUncertain says that the log was cut, or may have been, after it was read up to the offset
// read, and that only records below known are certain to be in files. What the log holds now in
// place of the lost records is in no file. Therefore nothing below read will be filled in, not even
// by later stores of the directory, and messages at or above known are forgotten. Duplicates of all
// of these pass.
//
// An error means that the directory does not record this. A later store of it may then take first
// copies for duplicates, unless ForgetUncertain is called on it before anything else.
func (s *Store) ForgetUncertain(known, read int64) error {
	s.flush(s.live)
	if s.backfill != nil { // it may hold what the log holds now
		s.hold(-s.backfill.bytes())
		s.backfill = nil
	}
	var errs []error
	if m := s.merge; m != nil {
		s.abandon()
		if m.out != nil {
			errs = append(errs, removeIfExists(m.out.path))
		}
	}
	for _, r := range slices.Clone(s.runs) {
		if max(r.max+1, r.span.hi) > known {
			s.dropRun(r)
			errs = append(errs, removeIfExists(r.path))
		}
	}
	s.RaiseFloor(read)
	if err := s.writeFloor(read); err != nil {
		errs = append(errs, fmt.Errorf("write dedup floor: %w", err))
	}
	return errors.Join(errs...)
}

// removeIfExists deletes a file if it still exists.
func removeIfExists(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// floorName is the file in which ForgetUncertain records the floor.
const floorName = "floor"

func floorLine(floor int64) string { return withChecksum(strconv.FormatInt(floor, 10)) }

// writeFloor syncs the file: without it, a first copy could be taken for a duplicate.
func (s *Store) writeFloor(floor int64) error {
	path := filepath.Join(s.cfg.Dir, floorName)
	file, err := os.Create(path + tmpSuffix)
	if err != nil {
		return err
	}
	_, err = file.WriteString(floorLine(floor))
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(path+tmpSuffix, path)
}

// readFloor reads what ForgetUncertain wrote. If that is damaged, nothing at all is filled in.
func (s *Store) readFloor() error {
	b, err := os.ReadFile(filepath.Join(s.cfg.Dir, floorName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var floor int64
	if _, err := fmt.Sscan(string(b), &floor); err != nil || string(b) != floorLine(floor) {
		s.cfg.Log.Warn("the dedup floor file is damaged: older messages are not read again, so duplicates of them pass; to have them read again, stop the appender and delete this directory", "dir", s.cfg.Dir)
		floor = math.MaxInt64
	}
	s.RaiseFloor(floor)
	return nil
}
