-- One row per (application, join_key): the union of its events, folded by the law of fold.py and row.py.
--
-- No aggregate here depends on the order in which rows were inserted or parts were merged: each event is taken
-- by its smallest digest, and what is ordered is ordered by (ordered_at_us, event_id).
CREATE OR REPLACE VIEW records AS
WITH
-- Each event once. tuple(): argMin passes over NULL otherwise.
one AS (
    SELECT
        application, join_key, kind, event_id,
        argMin(ordered_at_us, digest) AS t,
        argMin(e.event_at, digest) AS happened_at,
        argMin(e.logged_at, digest) AS event_logged_at,
        argMin(tuple(version), digest).1 AS event_version,
        argMin(tuple(environment), digest).1 AS event_environment,
        argMin(tuple(tags), digest).1 AS event_tags,
        argMin(event, digest) AS event_json,
        argMin(tuple(inputs), digest).1 AS event_inputs,
        argMin(tuple(outputs), digest).1 AS event_outputs,
        argMin(tuple(sample_rate), digest).1 AS event_sample_rate,
        argMin(fields, digest) AS names,
        argMin(field_values, digest) AS told,
        argMin(all_fields, digest) AS everything,
        max(written_at) AS event_written_at
    FROM events AS e
    GROUP BY application, join_key, kind, event_id
),
gathered AS (
    SELECT
        application, join_key,
        countIf(kind = 'prediction') AS predictions,
        minIf((t, event_id), kind = 'prediction') AS first,
        argMinIf(happened_at, (t, event_id), kind = 'prediction') AS winner_at,
        argMinIf(event_logged_at, (t, event_id), kind = 'prediction') AS winner_logged_at,
        argMinIf(tuple(event_inputs), (t, event_id), kind = 'prediction').1 AS inputs,
        argMinIf(tuple(event_outputs), (t, event_id), kind = 'prediction').1 AS outputs,
        argMinIf(tuple(event_tags), (t, event_id), kind = 'prediction').1 AS tags,
        argMinIf(tuple(event_sample_rate), (t, event_id), kind = 'prediction').1 AS sample_rate,
        -- Of the winner; of an orphan, of what was told last.
        argMinIf(tuple(event_version, event_environment), (t, event_id), kind = 'prediction') AS of_winner,
        argMaxIf(tuple(event_version, event_environment), (t, event_id), kind = 'feedback') AS of_feedback,
        arraySort(groupArrayIf((t, event_id, names, told), kind = 'feedback')) AS said,
        groupArrayIf((t, names, everything), kind = 'retraction') AS taken_back,
        arraySort(groupArrayIf((kind, t, event_id, event_json), kind != 'prediction')) AS history,
        arraySlice(arraySort(groupArrayIf((t, event_id, concat(
            left(event_json, length(event_json) - 1), ',"inputs":', event_inputs, ',"outputs":', event_outputs,
            if(event_sample_rate = 1, '}', concat(',"sample_rate":', toString(event_sample_rate), '}'))
        )), kind = 'prediction' AND event_json != '')), 2) AS losers,
        max(t != toUnixTimestamp64Micro(happened_at)) AS clock_skew,
        max(event_written_at) AS updated_at,
        count() AS row_version
    FROM one
    GROUP BY application, join_key
),
policy AS (
    SELECT
        application,
        argMax(join_window_s, written_at) AS join_window_s,
        argMax(reducers, written_at) AS reducers,
        argMax(tuple(matured_before_us), written_at).1 AS matured_before_us,
        argMax(tuple(default_feedback), written_at).1 AS default_feedback
    FROM policies
    GROUP BY application
),
-- What counts: within the join window of the prediction, and not taken back.
weighed AS (
    SELECT
        *,
        arrayFilter(
            f -> NOT arrayExists(r -> (r.3 OR has(r.2, f.3)) AND r.1 >= f.1, taken_back),
            arrayFlatten(arrayMap(
                e -> arrayMap((name, value) -> (e.1, e.2, name, value), e.3, e.4),
                arrayFilter(e -> predictions = 0 OR e.1 <= first.1 + join_window_s * 1e6, said)
            ))
        ) AS counted,
        arrayMap(f -> f.1, counted) AS times,
        predictions > 0 AND empty(counted) AND first.1 < ifNull(matured_before_us, -9e18) AS is_unlabelled,
        arrayMap(
            name -> (name, arrayMap(f -> f.4, arrayFilter(f -> f.3 = name, counted)), reducers[name]),
            arraySort(arrayDistinct(arrayMap(f -> f.3, counted)))
        ) AS by_field
    FROM gathered LEFT JOIN policy USING (application)
),
-- Each field's values, and the numbers among them with the text they came in.
numbered AS (
    SELECT
        *,
        arrayMap(
            g -> (g.1, g.2, g.3, arrayFilter(n -> isNotNull(n.1), arrayMap(
                v -> (multiIf(v = 'true', 1., v = 'false', 0., match(v, '^-?[0-9]'), toFloat64OrNull(v), NULL),
                      multiIf(v = 'true', '1', v = 'false', '0', v)),
                g.2))),
            by_field
        ) AS by_number
    FROM weighed
)
SELECT
    application,
    join_key,
    multiIf(predictions = 0, 'orphan', notEmpty(counted), 'joined', is_unlabelled, 'unlabelled', 'predicted') AS status,
    if(predictions > 0, of_winner.2, of_feedback.2) AS environment,
    if(predictions > 0, of_winner.1, of_feedback.1) AS version,
    if(predictions > 0, winner_at, NULL) AS predicted_at,
    inputs,
    outputs,
    tags,
    multiIf(
        notEmpty(counted),
        concat('{', arrayStringConcat(arrayMap(g -> concat(toJSONString(g.1), ':', multiIf(
            g.3 = 'first', g.2[1],
            g.3 = 'count', toString(arrayCount(v -> v != 'null', g.2)),
            -- The most frequent; of several, the one told last.
            g.3 = 'majority', arraySort((v, n) -> (-countEqual(g.2, v), -n), g.2, arrayEnumerate(g.2))[1],
            g.3 NOT IN ('sum', 'mean', 'min', 'max'), g.2[-1],
            empty(g.4), 'null',
            g.3 = 'min', arraySort(n -> n.1, g.4)[1].2,
            g.3 = 'max', arrayReverseSort(n -> n.1, g.4)[1].2,
            g.3 = 'mean', toString(arrayReduce('sumKahan', arrayMap(n -> assumeNotNull(n.1), g.4)) / length(g.4)),
            arrayAll(n -> match(n.2, '^-?[0-9]+$'), g.4), toString(arraySum(n -> toInt256OrZero(n.2), g.4)),
            toString(arrayReduce('sumKahan', arrayMap(n -> assumeNotNull(n.1), g.4)))
        )), by_number), ','), '}'),
        is_unlabelled, default_feedback,
        NULL
    ) AS feedback,
    is_unlabelled AND isNotNull(default_feedback) AS feedback_is_default,
    if(empty(times), NULL, fromUnixTimestamp64Micro(arrayMax(times), 'UTC')) AS feedback_at,
    if(empty(times), NULL, fromUnixTimestamp64Micro(arrayMin(times), 'UTC')) AS first_feedback_at,
    if(empty(times) OR predictions = 0, NULL, (arrayMin(times) - first.1) / 1e6) AS feedback_delay_s,
    if(empty(history), NULL, concat('{', arrayStringConcat(
        arrayMap(h -> concat(toJSONString(concat(h.1, ':', h.3)), ':', h.4), history), ','), '}')) AS feedback_events,
    if(empty(losers), NULL, concat('{', arrayStringConcat(
        arrayMap(p -> concat(toJSONString(concat('prediction:', p.2)), ':', p.3), losers), ','), '}')) AS conflicts,
    sample_rate,
    clock_skew,
    if(predictions > 0, winner_logged_at, NULL) AS logged_at,
    if(predictions > 0, first.2, NULL) AS prediction_event_id,
    updated_at,
    row_version
FROM numbered
