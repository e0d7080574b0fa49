-- For DuckDB 1.4 or newer, over the files of the delta, parquet and jsonl sinks. One row per (application, join_key):
-- the union of its events, folded as the worker folds them (joinback_worker/law), by the settings of the day on which
-- this view was printed.
CREATE OR REPLACE VIEW events AS
SELECT * FROM {source};

CREATE OR REPLACE VIEW records AS
WITH
-- The declared rules of each application. `rules` maps a feedback field to its rules; its default is JSON.
policies(policy_of, join_window_s, maturity_s, labels, rules) AS ({policies}),
-- Nearly every key is plain: it has at most one prediction and one feedback event (which may be repeated), and no
-- retraction. One aggregate of single values folds the plain keys, so DuckDB can spill it to disk.
-- It is materialized because two read it: the plain keys, and the search for the others. DuckDB 2 then still reads only
-- the columns and the keys that the query needs.
-- Two rows are the same event if they have the same id and the same digest of the content. The hash of both stands for
-- them: 64 bits are enough, as only the few events of one key are compared.
keys AS MATERIALIZED (
    SELECT
        application, join_key,
        NOT bool_or(kind = 'retraction')
            AND min(hash(event_id, digest)) FILTER (kind = 'prediction')
                IS NOT DISTINCT FROM max(hash(event_id, digest)) FILTER (kind = 'prediction')
            AND min(hash(event_id, digest)) FILTER (kind = 'feedback')
                IS NOT DISTINCT FROM max(hash(event_id, digest)) FILTER (kind = 'feedback') AS is_plain,
        any_value(ordered_at_us) FILTER (kind = 'prediction') AS winner_t,
        any_value(event_id) FILTER (kind = 'prediction') AS winner_id,
        any_value(event_at) FILTER (kind = 'prediction') AS winner_at,
        any_value(logged_at) FILTER (kind = 'prediction') AS winner_logged_at,
        any_value(version) FILTER (kind = 'prediction') AS winner_version,
        any_value(environment) FILTER (kind = 'prediction') AS winner_environment,
        any_value(tags) FILTER (kind = 'prediction') AS tags,
        any_value(inputs) FILTER (kind = 'prediction') AS inputs,
        any_value(outputs) FILTER (kind = 'prediction') AS outputs,
        any_value(sample_rate) FILTER (kind = 'prediction') AS sample_rate,
        any_value(ordered_at_us) FILTER (kind = 'feedback') AS feedback_t,
        any_value(event_id) FILTER (kind = 'feedback') AS feedback_id,
        any_value(version) FILTER (kind = 'feedback') AS feedback_version,
        any_value(environment) FILTER (kind = 'feedback') AS feedback_environment,
        any_value(event) FILTER (kind = 'feedback') AS feedback_event,
        bool_or({has_label}) FILTER (kind = 'feedback') AS has_label,
        any_value(fields) FILTER (kind = 'feedback') AS feedback_fields,
        any_value(field_values) FILTER (kind = 'feedback') AS feedback_values,
        bool_or(ordered_at_us != epoch_us(event_at)) AS clock_skew,
        max(written_at) AS updated_at
    FROM events
    GROUP BY application, join_key
),
plain AS (
    SELECT
        *,
        feedback_t IS NOT NULL
            AND (winner_t IS NULL OR feedback_t <= winner_t + coalesce(join_window_s, {join_window_s}) * 1e6)
            AS is_in_time,
        is_in_time AND has_label AS is_labelled,
        CASE WHEN is_in_time THEN feedback_fields ELSE [] END AS names
    FROM keys LEFT JOIN policies ON policy_of = application
    WHERE is_plain
),
-- The other keys, with each event once: if its rows differ, the one with the smallest digest counts. `e` has what the
-- fold needs, `shown` what the row shows of it.
one AS (
    SELECT
        application, join_key, kind, event_id,
        arg_min({{
            't': ordered_at_us, 'id': event_id, 'fields': fields, 'field_values': field_values,
            'everything': all_fields, 'event': event
        }}, digest) AS e,
        arg_min({{
            't': ordered_at_us, 'id': event_id, 'event_at': event_at, 'logged_at': logged_at, 'version': version,
            'environment': environment, 'tags': tags, 'event': event, 'inputs': inputs, 'outputs': outputs,
            'sample_rate': sample_rate
        }}, digest) AS shown,
        max(written_at) AS written_at
    FROM events JOIN (SELECT application, join_key FROM keys WHERE NOT is_plain) USING (application, join_key)
    GROUP BY application, join_key, kind, event_id
),
-- Per key the sorted lists of its events. A struct sorts by its first members: (t, id).
gathered AS (
    SELECT
        application, join_key,
        min(e.t) FILTER (kind = 'prediction') AS winner_t,
        coalesce(list_sort(list(shown) FILTER (kind = 'prediction')), []) AS predictions,
        coalesce(list_sort(list(e) FILTER (kind = 'feedback')), []) AS feedback_sorted,
        coalesce(list_sort(list(e) FILTER (kind = 'retraction')), []) AS retractions_sorted,
        list_sort(list(shown) FILTER (kind = 'feedback'))[-1] AS last_feedback,
        bool_or(e.t != epoch_us(shown.event_at)) AS clock_skew,
        max(written_at) AS updated_at,
        count(*) AS row_version
    FROM one
    GROUP BY application, join_key
),
-- The retractions, and those of them that a later one takes back (`void`). It goes from the latest to the earliest:
-- each retraction that is not void makes void the earlier ones that it names.
named AS (
    SELECT
        *,
        predictions[1] AS winner,
        list_transform(retractions_sorted, lambda r: {{
            't': r.t, 'id': r.id, 'fields': r.fields, 'everything': r.everything,
            'by_name': starts_with(r.event::VARCHAR, '{{"v":2'),
            'event_ids': CASE WHEN starts_with(r.event::VARCHAR, '{{"v":2')
                THEN coalesce(from_json(r.event::JSON->'event_ids', '["VARCHAR"]'), []) ELSE [] END
        }}) AS retractions,
        CASE WHEN len(retractions_sorted) > 0 THEN list_reduce(
            list_transform(list_reverse(retractions_sorted), lambda r: {{'id': r.id, 'void': []::VARCHAR[], 'named':
                CASE WHEN starts_with(r.event::VARCHAR, '{{"v":2')
                THEN coalesce(from_json(r.event::JSON->'retraction_ids', '["VARCHAR"]'), []) ELSE [] END}}),
            lambda later, r: {{
                'id': r.id,
                'void': CASE WHEN list_contains(later.named, r.id) THEN later.void || [r.id] ELSE later.void END,
                'named': CASE WHEN list_contains(later.named, r.id) THEN later.named ELSE later.named || r.named END
            }}
        ).void ELSE [] END AS void
    FROM gathered LEFT JOIN policies ON policy_of = application
),
-- The values of feedback that came within the join window and that no retraction takes back.
valid AS (
    SELECT
        *,
        list_filter(
            flatten(list_transform(
                list_filter(feedback_sorted, lambda e:
                    winner_t IS NULL OR e.t <= winner_t + coalesce(join_window_s, {join_window_s}) * 1e6),
                lambda e: list_transform(list_zip(e.fields, e.field_values), lambda pair: {{
                    't': e.t, 'id': e.id, 'name': pair[1], 'value': pair[2],
                    'rank': CASE WHEN len(rules[pair[1]].sources) > 0 AND starts_with(e.event::VARCHAR, '{{"v":2')
                            AND list_contains(rules[pair[1]].sources, e.event::JSON->>'source')
                        THEN list_position(rules[pair[1]].sources, e.event::JSON->>'source')
                        ELSE coalesce(len(rules[pair[1]].sources), 0) + 1 END
                }})
            )),
            lambda f: len(list_filter(retractions, lambda r: NOT list_contains(void, r.id)
                AND (r.everything OR list_contains(r.fields, f.name))
                AND CASE WHEN r.by_name THEN list_contains(r.event_ids, f.id) ELSE r.t >= f.t END)) = 0
        ) AS valid_values
    FROM named
),
-- Of these, for each field the values of its best source, in their order.
weighed AS (
    SELECT
        *,
        list_sort(list_distinct(list_transform(valid_values, lambda f: f.name))) AS names,
        CASE WHEN len(list_filter(valid_values, lambda f: f.rank != valid_values[1].rank)) = 0 THEN valid_values
        ELSE list_filter(valid_values, lambda f:
            f.rank = list_min(list_transform(list_filter(valid_values, lambda g: g.name = f.name), lambda g: g.rank)))
        END AS counted
    FROM valid
),
folded AS (
    SELECT
        application, join_key, rules, maturity_s, winner_t, winner_id, winner_at, winner_logged_at,
        CASE WHEN winner_t IS NULL THEN feedback_version ELSE winner_version END AS version,
        CASE WHEN winner_t IS NULL THEN feedback_environment ELSE winner_environment END AS environment,
        inputs, outputs, tags, sample_rate,
        names,
        CASE WHEN len(names) > 0 THEN list_transform(list_sort(list_zip(names, feedback_values)), lambda pair: {{
            'name': pair[1], 'first_t': feedback_t, 'last_t': feedback_t, 'field_values': [pair[2]]
        }}) ELSE [] END AS fields,
        CASE WHEN len(names) > 0 THEN feedback_t END AS first_t,
        first_t AS last_t,
        is_labelled,
        feedback_t AS first_label_t,
        '{{' || to_json('feedback:' || feedback_id) || ':' || feedback_event || '}}' AS feedback_events,
        NULL AS conflicts,
        clock_skew, updated_at,
        (winner_t IS NOT NULL)::BIGINT + (feedback_t IS NOT NULL)::BIGINT AS row_version
    FROM plain
    UNION ALL
    SELECT
        application, join_key, rules, maturity_s, winner_t, winner.id, winner.event_at, winner.logged_at,
        CASE WHEN winner_t IS NULL THEN last_feedback.version ELSE winner.version END,
        CASE WHEN winner_t IS NULL THEN last_feedback.environment ELSE winner.environment END,
        winner.inputs, winner.outputs, winner.tags, winner.sample_rate,
        names,
        list_transform(names, lambda name: {{
            'name': name,
            'first_t': list_min(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.t)),
            'last_t': list_max(list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.t)),
            'field_values': list_transform(list_filter(counted, lambda f: f.name = name), lambda f: f.value)
        }}),
        list_min(list_transform(counted, lambda f: f.t)),
        list_max(list_transform(counted, lambda f: f.t)),
        CASE WHEN coalesce(len(labels), 0) = 0 THEN len(names) > 0 ELSE list_has_any(names, labels) END,
        list_min(list_transform(list_filter(counted, lambda f:
            coalesce(len(labels), 0) = 0 OR list_contains(labels, f.name)), lambda f: f.t)),
        CASE WHEN len(feedback_sorted) + len(retractions_sorted) > 0 THEN '{{' || array_to_string(
            list_transform(feedback_sorted, lambda e: to_json('feedback:' || e.id) || ':' || e.event)
            || list_transform(retractions_sorted, lambda e: to_json('retraction:' || e.id) || ':' || e.event),
            ',') || '}}'
        END,
        CASE WHEN len(predictions) > 1 THEN '{{' || array_to_string(list_transform(predictions[2:], lambda e:
            to_json('prediction:' || e.id) || ':' || left(e.event, len(e.event) - 1)
            || ',"inputs":' || e.inputs || ',"outputs":' || e.outputs
            || CASE WHEN e.sample_rate = 1 THEN '}}' ELSE ',"sample_rate":' || e.sample_rate || '}}' END), ',') || '}}'
        END,
        clock_skew, updated_at, row_version
    FROM weighed
),
-- Each field's values as values of the declared type, if that loses nothing; and the fields that take their default.
typed AS (
    SELECT
        * REPLACE (list_transform(fields, lambda g: {{
            'name': g.name,
            'reducer': coalesce(rules[g.name].reducer, 'last'),
            'first_t': g.first_t,
            'last_t': g.last_t,
            'field_values': list_transform(g.field_values, lambda value: CASE rules[g.name].scalar
                WHEN 'bool' THEN CASE
                    WHEN lower(value) IN ('true', '"true"', '1', '"1"', '1.0') THEN 'true'
                    WHEN lower(value) IN ('false', '"false"', '0', '"0"', '0.0') THEN 'false' ELSE value END
                WHEN 'int' THEN coalesce(nullif(regexp_extract(
                    value, '^"?(-?(?:0|[1-9][0-9]*))(?:\.0+)?"?$', 1), ''), value)
                WHEN 'float' THEN coalesce(nullif(regexp_extract(
                    value, '^"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{{1,2}})?)"$', 1), ''), value)
                WHEN 'str' THEN CASE WHEN value = 'null' OR left(value, 1) IN ('"', '{{', '[')
                    THEN value ELSE '"' || value || '"' END
                ELSE value END)
        }}) AS fields),
        list_filter(map_entries(coalesce(rules, MAP {{}})), lambda r: winner_t IS NOT NULL AND r.value."default" IS NOT NULL
            AND winner_t < epoch_us(now()) - r.value.maturity_s * 1e6
            AND NOT list_contains(names, r.key)) AS defaults,
        winner_t IS NOT NULL AND NOT is_labelled
            AND coalesce(winner_t < epoch_us(now()) - maturity_s * 1e6, false) AS is_unlabelled
    FROM folded
),
-- The numbers among the values, each with its text.
numbered AS (
    SELECT
        *,
        list_transform(fields, lambda g: {{
            'name': g.name, 'reducer': g.reducer, 'field_values': g.field_values,
            'numbers': list_filter(list_transform(g.field_values, lambda value: {{
                'text': CASE value WHEN 'true' THEN '1' WHEN 'false' THEN '0' ELSE value END,
                'n': CASE WHEN value = 'true' THEN 1e0 WHEN value = 'false' THEN 0e0
                          WHEN regexp_matches(value, '^-?[0-9]') THEN TRY_CAST(value AS DOUBLE) END
            }}), lambda n: n.n IS NOT NULL AND isfinite(n.n))
        }}) AS by_number
    FROM typed
)
SELECT
    application,
    join_key,
    CASE WHEN winner_t IS NULL THEN 'orphan' WHEN is_labelled THEN 'joined'
         WHEN is_unlabelled THEN 'unlabelled' ELSE 'predicted' END AS status,
    environment,
    version,
    winner_at AS predicted_at,
    inputs::JSON AS inputs,
    outputs::JSON AS outputs,
    tags::JSON AS tags,
    CASE
        WHEN len(fields) + len(defaults) > 0 THEN '{{' || array_to_string(list_transform(list_sort(list_concat(
            list_transform(defaults, lambda r: {{'name': r.key, 'text': r.value."default"}}),
            list_transform(by_number, lambda g: {{'name': g.name, 'text': CASE
            WHEN g.reducer = 'first' THEN g.field_values[1]
            WHEN g.reducer = 'count' THEN len(list_filter(g.field_values, lambda v: v != 'null'))::VARCHAR
            -- The most frequent value; of several, the one that came last.
            WHEN g.reducer = 'majority' THEN list_sort(list_transform(g.field_values, lambda v, i: {{
                'count': len(list_filter(g.field_values, lambda other: other = v)), 'place': i, 'value': v}}))[-1].value
            WHEN g.reducer NOT IN ('sum', 'mean', 'min', 'max') THEN g.field_values[-1]
            WHEN len(g.numbers) = 0 THEN 'null'
            WHEN g.reducer = 'min' THEN list_sort(list_transform(g.numbers, lambda n: {{'n': n.n, 'text': n.text}}))[1].text
            WHEN g.reducer = 'max' THEN list_sort(list_transform(g.numbers, lambda n: {{'n': n.n, 'text': n.text}}))[-1].text
            WHEN g.reducer = 'mean' THEN
                (list_aggregate(list_transform(g.numbers, lambda n: n.n), 'fsum') / len(g.numbers))::VARCHAR
            WHEN len(list_filter(g.numbers, lambda n: NOT regexp_matches(n.text, '^-?[0-9]{{1,36}}$'))) = 0 THEN
                list_sum(list_transform(g.numbers, lambda n: n.text::HUGEINT))::HUGEINT::VARCHAR
            ELSE list_aggregate(list_transform(g.numbers, lambda n: n.n), 'fsum')::VARCHAR
            END}}))), lambda v: to_json(v.name) || ':' || v.text), ',') || '}}'
    END::JSON AS feedback,
    CASE WHEN len(defaults) > 0 THEN to_json(list_sort(list_transform(defaults, lambda r: r.key))) END AS default_fields,
    CASE WHEN len(fields) > 0 THEN '{{' || array_to_string(list_transform(fields, lambda g: to_json(g.name)
        || ':{{"first":"' || strftime(make_timestamp(g.first_t), '%Y-%m-%dT%H:%M:%S.%fZ')
        || '","last":"' || strftime(make_timestamp(g.last_t), '%Y-%m-%dT%H:%M:%S.%fZ') || '"}}'), ',') || '}}'
    END::JSON AS field_times,
    make_timestamptz(last_t) AS feedback_at,
    make_timestamptz(first_t) AS first_feedback_at,
    CASE WHEN is_labelled THEN (first_label_t - winner_t) / 1e6 END AS feedback_delay_s,
    feedback_events::JSON AS feedback_events,
    conflicts::JSON AS conflicts,
    sample_rate,
    clock_skew,
    winner_logged_at AS logged_at,
    winner_id AS prediction_event_id,
    updated_at,
    row_version
FROM numbered;
