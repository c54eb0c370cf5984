package e2e

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// hazard is one row of the fault matrix: a place where anything may happen, what is expected then,
// and the tests that would fail otherwise. A test is given by its package's folder, its function,
// and, if only one of its cases counts, that case.
type hazard struct {
	id, point, expected string
	tests               []string
}

// faultMatrix has the rows of the design's fault matrix: A for appender and rotator, C for the
// copier, R for replay, G for the garbage collector. X is the table of crashes, and P what else the
// protocol promises.
var faultMatrix = []hazard{
	{"A1", "after fetch, before append", "read again", []string{
		"workers/appender TestAnyScheduleFilesEveryRecordOnce", "workers/appender TestRestartContinuesFromTheCheckpoint/killed", "workers/e2e TestPartitionsMoveBetweenAppenders"}},
	{"A2", "in the middle of append; no space, I/O error on write, close, fsync", "files dropped, partition taken over again", []string{
		"pkg/segment TestDiskErrorBreaksTheSpool", "pkg/segment TestRecoverRejectsDamage", "workers/e2e TestUnwritableDataDirectoryIsWaitedOut", "workers/appender TestShortDiskSealsEarlyAndPauses"}},
	{"A3", "after seal, before the file's PUT", "read again; no trace", []string{
		"workers/appender TestAnyScheduleFilesEveryRecordOnce", "workers/appender TestStopFinishesTheEntryInFlight/drop_open_files"}},
	{"A4", "the file's PUT: not applied, applied with its reply lost, applied late", "the same again, or an orphan", []string{
		"workers/rotator TestFaults/data_not_applied", "workers/rotator TestFaults/data_reply_lost", "workers/rotator TestFaults/data_refused", "workers/rotator TestLatePutOfAStagedFileIsHarmless",
		"workers/rotator TestDamagedFilesAreRefused", "workers/rotator TestHungPutIsSentAgain"}},
	{"A5", "file stored, before the ledger's PUT", "an orphan, collected only once its range is covered", []string{
		"workers/rotator TestZombieLoses", "workers/auditor TestOrphans", "workers/auditor TestOrphansAboveTheWatermark"}},
	{"A6", "the ledger's PUT: not applied, reply lost, own success reported as 412, 409, late before or after the next claim", "decided once, by attempt and create-if-absent", []string{
		"pkg/ledger TestAppendResolvesItsOutcome/not_applied", "pkg/ledger TestAppendResolvesItsOutcome/applied_reply_lost", "pkg/ledger TestAppendResolvesItsOutcome/own_success_reported_412",
		"pkg/ledger TestAppendResolvesItsOutcome/conflict", "pkg/ledger TestGhostOfAnAbandonedEntryDecidesOnce", "workers/rotator TestFaults/ledger_reply_lost",
		"workers/rotator TestLatePutOfAnEntryDecidesOnce/before_the_claim", "workers/rotator TestLatePutOfAnEntryDecidesOnce/after_the_claim"}},
	{"A7", "entry won; before local files go, before the hint, hint refused", "no effect", []string{
		"workers/appender TestEntryWrittenBeforeAKillIsNotRepeated", "workers/appender TestLocalFilesAreTrustedOnlyByTheirAuthorOnTheirChain/own_entry_of_what_was_read",
		"workers/rotator TestFailedCommitChangesNothing", "pkg/stream testStaleCommit"}},
	{"A8", "before, between and after the jobs", "the outbox: enqueued by whoever takes over, twice is harmless", []string{
		"workers/rotator TestTakeoverEnqueuesItsFormerOwnersJobs", "workers/rotator TestOutboxOfSeveralEntries", "workers/copier TestJobsForTheSameDebtShareATask"}},
	{"A9", "the claim: the outcomes of A6; two claimers", "one wins, the other reloads", []string{
		"workers/rotator TestClaimsHaveOneWinner/reply_lost", "workers/rotator TestClaimsHaveOneWinner/two_claimers", "workers/appender TestTakeoversBackOffFromARival"}},
	{"A10", "a zombie stopped before A3 to A6 that goes on after its successor wrote none, one, many entries", "it loses, and abandons", []string{
		"workers/rotator TestZombieLosesWhateverItsSuccessorDid/claim_only", "workers/rotator TestZombieLosesWhateverItsSuccessorDid/one_entry",
		"workers/rotator TestZombieLosesWhateverItsSuccessorDid/many_entries", "workers/appender TestAnyScheduleFilesEveryRecordOnce"}},
	{"A11", "rebalance storms; a partition lost and regained", "state is kept only if the head has not moved", []string{
		"workers/e2e TestRebalanceStorm", "workers/appender TestLocalFilesAreTrustedOnlyByTheirAuthorOnTheirChain/claim_of_another_and_ours_again",
		"workers/appender TestRevokedPartitionIsLeftAtOnce", "workers/appender TestNoTakeoverInAnEndedGeneration", "pkg/stream TestFewPartitionsMoveWhenAWorkerJoinsOrLeaves"}},
	{"A12", "hint and ledger contradict; ledger below the log's start; log's end below the ledger; other cluster", "halt and alarm, never a reset", []string{
		"workers/rotator TestContradictionsHalt/entry_rolled_back", "workers/rotator TestContradictionsHalt/ledger_lost", "workers/rotator TestContradictionsHalt/log_shorter",
		"workers/rotator TestContradictionsHalt/log_begins_later", "workers/rotator TestContradictionsHalt/other_kafka_cluster", "workers/e2e TestStagingThatIsNotTheLedgersEmbedded",
		"workers/e2e TestStagingThatIsNotTheLedgersStack"}},
	{"A13", "cuts, routing rule or release change; old and new together", "every record in one file", []string{
		"workers/rotator TestRouterRuleChangesOnlyOverAnEmptyFilter", "workers/appender TestLocalFilesAreTrustedOnlyByTheirAuthorOnTheirChain/other_routing_rule",
		"workers/e2e TestRebalanceStorm", "pkg/segment TestRecoverWithLowerMaxBytes", "pkg/ledger TestEntryGolden"}},

	{"C1", "after the lock, before the GET; staged object missing or damaged", "retried, then parked; never a partial PUT", []string{
		"workers/copier TestDamagedStagedFileIsNotSent/staged_missing", "workers/copier TestDamagedStagedFileIsNotSent/staged_damaged", "workers/copier TestDamagedStagedFileIsNotSent/truncated", "workers/copier TestStagingDown"}},
	{"C2", "the lock expires during the GET, before or during the PUT", "a second copier sends the same bytes", []string{
		"workers/copier TestLeaseLostBeforePut", "workers/copier TestTwoCopiersOnTheSameJob", "pkg/lease TestHeldIsFalseRightAfterAPause"}},
	{"C3", "the PUT: lost reply, 5xx after the effect, 409, 412, 501, 403, no bucket, wrong region, expired token", "as the protocol's table", []string{
		"workers/copier TestFileArrivesOnceDespitePutFaults/reply_lost_after_put", "workers/copier TestFileArrivesOnceDespitePutFaults/5xx_after_put", "workers/copier TestFileArrivesOnceDespitePutFaults/409_conflict",
		"workers/copier TestFileArrivesOnceDespitePutFaults/412_exists", "workers/copier TestFileArrivesOnceDespitePutFaults/501_unconditional", "workers/copier TestFileArrivesOnceDespitePutFaults/expired_token",
		"workers/copier TestVerdicts/put_denied", "workers/copier TestVerdicts/no_bucket", "workers/copier TestRegionIsFollowedOnceAndRemembered", "workers/copier TestGhostPutArrivesAfterTheDelivery"}},
	{"C4", "PUT done, before the receipt", "412 on redo, then the receipt", []string{"workers/copier TestJobRepeatedAfterCrash/after_the_put"}},
	{"C5", "receipt written, before Redis, before the acknowledgement", "nothing is sent again", []string{
		"workers/copier TestJobRepeatedAfterCrash/after_the_receipt", "workers/copier TestJobRepeatedAfterCrash/after_the_marker"}},
	{"C6", "Redis away, flushed, failed over, its clock jumps, a lock that became another's is released", "more attempts, nothing else", []string{
		"workers/copier TestRedisDown/copying_waits", "workers/copier TestRedisDown/continue_without", "pkg/lease conformance/lost_when_flushed", "pkg/lease conformance/lost_when_taken",
		"pkg/lease TestKeeperLosesTheLease", "workers/auditor TestRedisHazards/flushed", "workers/auditor TestRedisHazards/down_for_long", "workers/e2e/simulation TestSimulation"}},
	{"C7", "job lost, doubled, forged", "the auditor, nothing, refused by what is owed", []string{
		"workers/auditor TestMissingJobsAreEnqueued", "workers/copier TestJobsForTheSameDebtShareATask", "workers/copier TestForgedJobs/other_tenant", "workers/copier TestForgedJobs/not_owed"}},
	{"C8", "destination revised, disabled, deleted between any two steps", "parked with its fix; in the old bucket and the new at most once each", []string{
		"workers/copier TestDestinationChanges/disabled", "workers/copier TestDestinationChanges/gone_for_good", "workers/copier TestBucketChangedDuringADelivery/after_the_put",
		"workers/copier TestBucketChangedDuringADelivery/after_the_receipt"}},

	{"R1", "replay beside live work; same destination, new destination, twice", "same keys, same counts, live work not delayed", []string{
		"workers/copier TestReplayIntoTheSameDestination", "workers/copier TestReplayBackfillsANewDestination", "workers/copier TestTwoOrdersForOneFileAreTwoTasks", "workers/copier TestReplaysDoNotDelayDeliveries",
		"workers/copier TestForgedReplayJobsAreDropped"}},
	{"G1", "garbage is collected while an appender is stopped that holds what A4 and A5 left", "kept unless covered", []string{
		"workers/auditor TestOrphans", "workers/auditor TestOrphansAboveTheWatermark", "workers/auditor TestObjectsOlderThanTheChainAreKept"}},

	{"X1", "crash before the file's PUT", "read again from the watermark, with the filter", []string{
		"workers/appender TestRecordsCoveredByTheFilterAreNotFiledAgain", "workers/appender TestAnyScheduleFilesEveryRecordOnce"}},
	{"X2", "crash between the file's PUT and the ledger's", "an orphan; cuts may differ", []string{"workers/appender TestAnyScheduleFilesEveryRecordOnce", "workers/auditor TestOrphans"}},
	{"X3", "the ledger's PUT, reply lost, then crash", "the new owner sees the entry", []string{"workers/rotator TestLatePutOfAnEntryDecidesOnce/before_the_claim", "workers/appender TestUnresolvedEntryIsDecidedByTheHead"}},
	{"X4", "the ledger's PUT arrives late", "wins or loses; whoever lost reloads", []string{"workers/rotator TestLatePutOfAnEntryDecidesOnce/after_the_claim", "pkg/ledger TestGhostOfAnAbandonedEntryDecidesOnce"}},
	{"X5", "crash between the ledger and Kafka's hint", "the hint is behind: harmless", []string{"workers/rotator TestOffsetsSetByOtherToolsChangeNothing/an_older_note_of_ours"}},
	{"X6", "crash between the ledger and the jobs", "the next owner enqueues them", []string{"workers/rotator TestTakeoverEnqueuesItsFormerOwnersJobs", "workers/rotator TestOutboxOfSeveralEntries"}},
	{"X7", "a job is lost or doubled", "the auditor, or nothing", []string{"workers/auditor TestMissingJobsAreEnqueued", "workers/auditor TestQueuedJobsAreNotEnqueuedAgain"}},
	{"X8", "a copier dies before the PUT", "another copies once the lock has run out", []string{"workers/copier TestTwoCopiersShareAndTakeOver", "pkg/lease conformance/a_dead_holder_gives_way_in_time"}},
	{"X9", "a copier dies in the PUT", "the same PUT: 200 or 412", []string{"workers/copier TestFileArrivesOnceDespitePutFaults/reply_lost_after_put", "workers/copier TestGhostPutArrivesAfterTheDelivery"}},
	{"X10", "crash between PUT and receipt", "412, then the receipt", []string{"workers/copier TestJobRepeatedAfterCrash/after_the_put"}},
	{"X11", "crash between receipt and acknowledgement", "skipped", []string{"workers/copier TestJobRepeatedAfterCrash/after_the_receipt"}},
	{"X12", "Redis lost everything", "receipts and 412s", []string{"workers/copier TestJobRepeatedAfterCrash/after_the_receipt", "workers/auditor TestRedisHazards/flushed"}},

	{"P4", "one chain by create-if-absent; an entry names files, cuts and debts; whoever loses throws its state away", "I1, I3, I5, I7", []string{
		"pkg/ledger TestHeadIsTheNewestEntry", "workers/rotator TestRotateStagesThenWritesThenEnqueues", "workers/rotator TestEntriesThatContradictTheirBaseAreRefused",
		"workers/rotator TestFilterHoldsStreamsSealedPastTheWatermark"}},
	{"P5a", "reading starts at the head's watermark; an operator's reset of group offsets changes nothing", "I6, I12", []string{
		"workers/rotator TestOffsetsSetByOtherToolsChangeNothing/to_latest", "workers/rotator TestOffsetsSetByOtherToolsChangeNothing/to_earliest",
		"workers/e2e TestOffsetsSetByToolsEmbedded", "workers/e2e TestOffsetsSetByToolsStack", "pkg/embedded TestTrim/offsets_set_by_other_tools_delete_nothing"}},
	{"P5b", "files on disk survive a restart; whole blocks, of this worker, on this head", "bytes read again are those since the last checkpoint", []string{
		"pkg/segment TestRecoverRandomHistories", "pkg/segment TestRecoverRejectsDamage", "workers/appender TestLocalFilesAreTrustedOnlyByTheirAuthorOnTheirChain", "workers/appender TestResumeRestoresTheState"}},
	{"P5c", "partitions are added", "read from their first record; none without an owner", []string{
		"workers/e2e TestMorePartitionsEmbedded", "workers/e2e TestMorePartitionsStack", "pkg/stream testMorePartitions", "pkg/stream TestOnlyTheLeaderHasPartitionCounts",
		"workers/auditor TestUnownedPartitionsAreReported"}},
	{"P6", "jobs are pointers; the ledger is the authority; the auditor compares", "I7, I10", []string{
		"workers/copier TestForgedJobs/no_such_entry", "workers/auditor TestMissingJobsAreEnqueued", "workers/auditor TestHintHazards/lies", "workers/auditor TestEntryWrittenByAClockThatIsAhead"}},
}

// TestEveryHazardHasTests: every row names tests, and they exist.
func TestEveryHazardHasTests(t *testing.T) {
	seen := map[string]bool{}
	var sources testSources
	for _, h := range faultMatrix {
		require.False(t, seen[h.id], "%s is there twice", h.id)
		seen[h.id] = true
		require.NotEmpty(t, h.point, h.id)
		require.NotEmpty(t, h.expected, h.id)
		require.NotEmpty(t, h.tests, h.id)
		for _, name := range h.tests {
			require.NoError(t, sources.find(name), h.id)
		}
	}
	for kind, n := range map[string]int{"A": 13, "C": 8, "R": 1, "G": 1, "X": 12} {
		for i := range n {
			require.True(t, seen[fmt.Sprint(kind, i+1)], "row %s%d is missing", kind, i+1)
		}
	}
	for _, bad := range []string{"workers/rotator TestNothing", "workers/rotator TestFaults/no_such_case", "workers/nobody TestFaults", "TestFaults"} {
		require.Error(t, sources.find(bad), "the check must be able to fail")
	}
}

// testSources are the functions in test files, by folder and name.
type testSources map[string]map[string]*ast.FuncDecl

// find returns an error unless the test "FOLDER FUNCTION[/CASE]" exists.
func (s *testSources) find(name string) error {
	folder, test, ok := strings.Cut(name, " ")
	if !ok {
		return fmt.Errorf("%q names no folder", name)
	}
	if *s == nil {
		*s = testSources{}
	}
	if (*s)[folder] == nil {
		found, err := functionsOfTests(filepath.Join("..", "..", folder))
		if err != nil {
			return err
		}
		(*s)[folder] = found
	}
	test, named, sub := strings.Cut(test, "/")
	f := (*s)[folder][test]
	if f == nil {
		return fmt.Errorf("%s has no test %s", folder, test)
	}
	found := !sub
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			found = found || err == nil && text == named
		}
		return !found
	})
	if !found {
		return fmt.Errorf("%s %s has no case %q", folder, test, named)
	}
	return nil
}

func functionsOfTests(dir string) (map[string]*ast.FuncDecl, error) {
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	found := map[string]*ast.FuncDecl{}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				found[f.Name.Name] = f
			}
		}
	}
	return found, nil
}
